# Settings of an account, which ./deploy.sh bootstrap ENV applies. For a GitHub repository that signs in without keys:
# github = {
#   repository       = "OWNER/NAME"
#   subject_prefixes = ["repo:OWNER@OWNER_ID/NAME@REPOSITORY_ID"] # made or renamed since 2026-07-15; bootstrap/README.md
# }
# disposable_environments = ["dev"] # which GitHub may destroy
# eraser_requires_mfa = true # docs/patients.md
# key_prefixes = { dev = "clinic-a/" } # of the keys that the uploader may write and the reader may read; default: all
