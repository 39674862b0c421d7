# The state of prod is in the account's state bucket, <project>-tfstate-<account>-<region>, whose name deploy.sh passes.
key          = "prod/terraform.tfstate"
region       = "us-east-1"
encrypt      = true
use_lockfile = true
