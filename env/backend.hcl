# Where the state of dev lives. Bucket names are shared by all of AWS: put your own here.
bucket       = "ikerian-data-pipeline-terraform-state"
key          = "dev/terraform.tfstate"
region       = "us-east-1"
encrypt      = true
use_lockfile = true
