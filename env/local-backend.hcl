# Where the state of ./deploy.sh local lives: in the local AWS.
key          = "dev/terraform.tfstate"
region       = "us-east-1"
encrypt      = true
use_lockfile = true
