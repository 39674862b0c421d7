# Settings that cannot work are refused before anything is planned.

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

run "no_environment" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = {}
  }
}

run "environment_name_with_a_hyphen" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { "pre-prod" = {} }
  }
}

run "environment_name_in_capitals" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { Dev = {} }
  }
}

run "environment_name_of_one_letter" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { d = {} }
  }
}

run "account_that_is_none" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { account_id = "1234" } }
  }
}

run "two_accounts_in_one_state" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { account_id = "111122223333" }, prod = { account_id = "444455556666" } }
  }
}

run "unknown_architecture" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { architecture = "riscv" } }
  }
}

run "too_little_memory" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { memory_mb = 127 } }
  }
}

run "too_much_memory" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { memory_mb = 10241 } }
  }
}

run "half_a_mebibyte" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { memory_mb = 512.5 } }
  }
}

run "no_time_to_work" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { timeout_seconds = 19 } }
  }
}

run "timeout_over_15_minutes" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { timeout_seconds = 901 } }
  }
}

run "retention_that_cloudwatch_lacks" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { log_retention_days = 10 } }
  }
}

run "versions_expire_at_once" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { noncurrent_version_days = 0 } }
  }
}

run "unknown_ingestion" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { ingestion = "stream" } }
  }
}

run "too_little_concurrency" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { maximum_concurrency = 1 } }
  }
}

run "too_much_concurrency" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { maximum_concurrency = 1001 } }
  }
}

run "batches_of_eleven" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { batch_size = 11 } }
  }
}

run "empty_batches" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { batch_size = 0 } }
  }
}

run "batching_window_of_six_minutes" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { batching_window_seconds = 360 } }
  }
}

run "no_reserved_concurrency_at_all" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { reserved_concurrency = 0 } }
  }
}

run "access_log_for_no_day" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { access_log_days = 0 } }
  }
}

run "archived_at_once" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { archive_after_days = 0 } }
  }
}

run "locked_for_no_day" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { object_lock_days = 0 } }
  }
}

run "locked_and_destroyed" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { object_lock_days = 30, force_destroy = true } }
  }
}

run "alarm_address_that_is_none" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { alarm_emails = ["oncall"] } }
  }
}

run "rejection_address_that_is_none" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { rejection_emails = ["sender"] } }
  }
}

run "unknown_stale_results" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { stale_results = "Keep" } }
  }
}

run "private_network_without_zones" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { private_network = { availability_zones = [] } } }
  }
}

run "private_network_with_one_zone_twice" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { private_network = { availability_zones = ["us-east-1a", "us-east-1a"] } } }
  }
}

run "network_too_large" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.0.0.0/8" } } }
  }
}

run "network_that_is_none" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.0.0" } } }
  }
}

run "network_named_by_another_address" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.0.0.5/24" } } }
  }
}

run "network_of_ipv6" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "fd00::/24" } } }
  }
}

run "network_too_small" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.0.0.0/25" } } }
  }
}

run "boundary_by_its_arn" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { permissions_boundary = "arn:aws:iam::111122223333:policy/bounds" } }
  }
}

run "locked_for_more_than_a_century" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { object_lock_days = 36501 } }
  }
}

run "project_name_in_capitals" {
  command         = plan
  expect_failures = [var.project_name]

  variables {
    project_name = "Eyes"
  }
}

run "project_name_with_an_end_hyphen" {
  command         = plan
  expect_failures = [var.project_name]

  variables {
    project_name = "eyes-"
  }
}

run "names_too_long_for_a_bucket" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    project_name = "a-project-with-a-name-of-30-ch"
    environments = { production = {} }
  }
}

run "region_that_is_none" {
  command         = plan
  expect_failures = [var.region]

  variables {
    region = "Virginia"
  }
}

run "region_of_another_partition" {
  command         = plan
  expect_failures = [var.region]

  variables {
    region = "cn-north-1"
  }
}

run "missing_package_of_layers" {
  command         = plan
  expect_failures = [aws_lambda_layer_version.this]

  module {
    source = "./modules/layers"
  }

  variables {
    name         = "eyes"
    package      = "no/such/layer.zip"
    architecture = "arm64"
  }
}

run "missing_package_of_lambda" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  module {
    source = "./modules/lambda"
  }

  variables {
    name                  = "eyes"
    log_group_name        = "/aws/lambda/eyes"
    package               = "no/such/function.zip"
    role_arn              = "arn:aws:iam::111122223333:role/eyes"
    layer_arns            = []
    environment_variables = {}
    kms_key_arn           = "arn:aws:kms:us-east-1:111122223333:key/k"
    failure_queue_arn     = "arn:aws:sqs:us-east-1:111122223333:eyes"
    settings              = { architecture = "arm64", memory_mb = 512, timeout_seconds = 60, log_retention_days = 14, reserved_concurrency = null }
  }
}

run "zones_of_another_region" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { private_network = { availability_zones = ["eu-west-1a", "eu-west-1b"] } } }
  }
}

run "zone_that_lambda_lacks" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = { dev = { private_network = { availability_zones = ["us-east-1a", "us-east-1-bos-1a"] } } }
  }
}

run "queue_starts_more_than_is_reserved" {
  command         = plan
  expect_failures = [aws_lambda_event_source_mapping.queue]

  module {
    source = "./modules/pipeline"
  }

  variables {
    name_prefix     = "eyes"
    environment     = "dev"
    account_id      = "111122223333"
    region          = "us-east-1"
    packages_dir    = "build"
    function        = { architecture = "arm64", memory_mb = 512, timeout_seconds = 60, log_retention_days = 14, reserved_concurrency = 9 }
    ingestion       = { mode = "queue", maximum_concurrency = 10, batch_size = 10, batching_window_seconds = 0 }
    data            = { noncurrent_version_days = 30, archive_after_days = null, object_lock_days = null, access_log_days = 90, stale_results = "keep", force_destroy = false }
    private_network = null
    monitoring      = { alarm_emails = [], rejection_emails = [], saved_queries = true, request_metrics = true }
  }
}

# What warns and stops nothing.

run "nobody_is_told_of_alarms" {
  command         = plan
  expect_failures = [check.alarms_reach_somebody]

  variables {
    environments = { prod = {} }
  }
}

run "nobody_is_told_of_alarms_where_versions_are_locked" {
  command         = plan
  expect_failures = [check.alarms_reach_somebody]

  variables {
    environments = { dev = { object_lock_days = 30 } }
  }
}

run "log_shorter_than_the_dead_letter_queue" {
  command         = plan
  expect_failures = [check.log_outlives_failed_events]

  variables {
    environments = { dev = { log_retention_days = 7 } }
  }
}

run "access_log_shorter_than_old_versions" {
  command         = plan
  expect_failures = [check.access_log_outlives_old_versions]

  variables {
    environments = { dev = { access_log_days = 29 } }
  }
}

run "nothing_to_warn_of" {
  command = plan

  variables {
    environments = {
      dev  = { access_log_days = 30, log_retention_days = 14 }
      prod = { ingestion = "queue", noncurrent_version_days = 90, alarm_emails = ["oncall@example.org"] }
      test = { force_destroy = true }
    }
  }
}
