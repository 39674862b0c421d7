# Plans bootstrap for a disposable and a lasting environment, for tests/policies.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "111122223333" }
}

override_resource {
  target          = aws_s3_bucket.state
  override_during = plan
  values          = { id = "eyes-tfstate-111122223333-us-east-1" }
}

run "rendered" {
  command = plan

  variables {
    project_name        = "eyes"
    environments        = ["dev", "prod"]
    github              = { repository = "acme/retina" }
    eraser_requires_mfa = true
    key_prefixes        = { prod = "clinic-a/" }
  }
}
