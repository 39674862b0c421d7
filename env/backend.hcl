# The state of dev is in the account's state bucket, <project>-tfstate-<account>-<region>, whose name deploy.sh passes.
key          = "dev/terraform.tfstate"
region       = "us-east-1"
encrypt      = true
use_lockfile = true
