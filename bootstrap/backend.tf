# Partial on purpose: the bucket's name contains the account and the region, so only whoever runs this knows it.
# terraform init -backend-config=bucket=<project_name>-tfstate-<account>-<region> -backend-config=region=<region>
terraform {
  backend "s3" {
    key          = "bootstrap/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}
