# What an account needs once; ./deploy.sh bootstrap applies it.
# For a GitHub repository that signs in without keys:
# github = { repository = "OWNER/NAME" }
