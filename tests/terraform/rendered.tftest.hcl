# Renders every policy of a disposable and of a lasting environment, for tests/policies to put requests to.

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
  target          = module.pipeline["dev"].terraform_data.bucket_suffix
  override_during = plan
  values          = { output = "1234abcd" }
}

override_resource {
  target          = module.pipeline["prod"].terraform_data.bucket_suffix
  override_during = plan
  values          = { output = "1234abcd" }
}

override_resource {
  target          = module.pipeline["dev"].module.kms.aws_kms_key.this
  override_during = plan
  values          = { arn = "arn:aws:kms:us-east-1:111122223333:key/dev" }
}

override_resource {
  target          = module.pipeline["prod"].module.kms.aws_kms_key.this
  override_during = plan
  values          = { arn = "arn:aws:kms:us-east-1:111122223333:key/prod" }
}

run "rendered" {
  command = plan

  variables {
    project_name = "eyes"
    environments = {
      dev = {}
      prod = {
        ingestion            = "queue"
        alarm_emails         = ["oncall@example.org"]
        stale_results        = "remove"
        private_network      = { availability_zones = ["us-east-1a", "us-east-1b"] }
        permissions_boundary = "eyes-github-prod-boundary"
      }
    }
  }
}
