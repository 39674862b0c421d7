# The state of ./deploy.sh local is in the local AWS.
key          = "dev/terraform.tfstate"
region       = "us-east-1"
encrypt      = true
use_lockfile = true
