# Plans a disposable environment with the defaults and a lasting one with other settings, for tests/policies.

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

override_resource {
  target          = module.pipeline["dev"].module.queue.aws_sqs_queue.dead_letter
  override_during = plan
  values          = { arn = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter" }
}

override_resource {
  target          = module.pipeline["prod"].module.queue.aws_sqs_queue.dead_letter
  override_during = plan
  values          = { arn = "arn:aws:sqs:us-east-1:111122223333:eyes-prod-dead-letter" }
}

override_resource {
  target          = module.pipeline["prod"].module.network[0].aws_subnet.private
  override_during = plan
  values          = { id = "subnet-1" }
}

override_resource {
  target          = module.pipeline["prod"].module.network[0].aws_security_group.function
  override_during = plan
  values          = { id = "sg-1" }
}

run "rendered" {
  command = plan

  variables {
    project_name = "eyes"
    environments = {
      dev = {}
      prod = {
        architecture            = "arm64"
        memory_mb               = 512
        timeout_seconds         = 60
        reserved_concurrency    = 9
        ingestion               = "queue"
        maximum_concurrency     = 7
        batch_size              = 3
        batching_window_seconds = 5
        log_retention_days      = 30
        access_log_days         = 120
        noncurrent_version_days = 31
        archive_after_days      = 60
        object_lock_days        = 365
        private_network         = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.1.0.0/24" }
        permissions_boundary    = "eyes-github-prod-boundary"
        stale_results           = "remove"
        alarm_emails            = ["oncall@example.org"]
        rejection_emails        = ["sender@example.org"]
      }
    }
  }
}
