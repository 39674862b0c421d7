# Where the state of prod lives: in the account's state bucket, <project>-tfstate-<account>-<region>, which deploy.sh names.
key          = "prod/terraform.tfstate"
region       = "us-east-1"
encrypt      = true
use_lockfile = true
