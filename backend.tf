# Partial on purpose: env/backend.hcl (dev) and env/prod-backend.hcl say where each environment's state is.
# terraform init -backend-config=env/backend.hcl
terraform {
  backend "s3" {}
}
