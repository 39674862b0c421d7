# Settings that cannot work are refused.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

run "environment_name_with_a_hyphen" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = "pre-prod"
  }
}

run "environment_name_in_capitals" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = "Dev"
  }
}

run "environment_name_of_one_letter" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = "d"
  }
}

run "unknown_architecture" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { architecture = "riscv" })
  }
}

run "too_little_memory" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { memory_mb = 127 })
  }
}

run "too_much_memory" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { memory_mb = 10241 })
  }
}

run "half_a_mebibyte" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { memory_mb = 512.5 })
  }
}

run "no_time_to_work" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { timeout_seconds = 19 })
  }
}

run "timeout_over_15_minutes" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { timeout_seconds = 901 })
  }
}

run "retention_that_cloudwatch_does_not_offer" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { log_retention_days = 10 })
  }
}

run "versions_expire_after_no_days" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { noncurrent_version_days = 0 })
  }
}

run "unknown_ingestion" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { ingestion = "stream" })
  }
}

run "too_little_concurrency" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { maximum_concurrency = 1 })
  }
}

run "too_much_concurrency" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { maximum_concurrency = 1001 })
  }
}

run "batches_of_eleven" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { batch_size = 11 })
  }
}

run "empty_batches" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { batch_size = 0 })
  }
}

run "batching_window_of_six_minutes" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { batching_window_seconds = 360 })
  }
}

run "no_reserved_concurrency_at_all" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { reserved_concurrency = 0 })
  }
}

run "access_log_for_no_days" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { access_log_days = 0 })
  }
}

run "archived_after_no_days" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { archive_after_days = 0 })
  }
}

run "locked_for_no_days" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { object_lock_days = 0 })
  }
}

run "locked_and_destroyed" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { object_lock_days = 30, force_destroy = true })
  }
}

run "alarm_address_without_a_domain" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { alarm_emails = ["oncall"] })
  }
}

run "rejection_address_without_a_domain" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { rejection_emails = ["sender"] })
  }
}

run "unknown_stale_results" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { stale_results = "Keep" })
  }
}

run "private_network_without_zones" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { private_network = { availability_zones = [], cidr_block = "10.0.0.0/24" } })
  }
}

run "private_network_with_one_zone_twice" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { private_network = { availability_zones = ["us-east-1a", "us-east-1a"], cidr_block = "10.0.0.0/24" } })
  }
}

run "network_too_large" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.0.0.0/8" } })
  }
}

run "network_is_not_a_cidr_block" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.0.0" } })
  }
}

run "network_written_with_another_address" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.0.0.5/24" } })
  }
}

run "ipv6_network" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "fd00::/24" } })
  }
}

run "network_too_small" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { private_network = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.0.0.0/25" } })
  }
}

run "boundary_as_an_arn" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { permissions_boundary = "arn:aws:iam::111122223333:policy/bounds" })
  }
}

run "locked_for_more_than_a_century" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { object_lock_days = 36501 })
  }
}

run "names_too_long_for_a_bucket" {
  command         = plan
  expect_failures = [var.name_prefix]

  variables {
    name_prefix = "a-project-with-a-name-of-30-ch-production"
  }
}

run "zones_of_another_region" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { private_network = { availability_zones = ["eu-west-1a", "eu-west-1b"], cidr_block = "10.0.0.0/24" } })
  }
}

run "local_zone" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = merge(var.settings, { private_network = { availability_zones = ["us-east-1a", "us-east-1-bos-1a"], cidr_block = "10.0.0.0/24" } })
  }
}

run "queue_exceeds_reserved_concurrency" {
  command         = plan
  expect_failures = [aws_lambda_event_source_mapping.queue]

  variables {
    settings = merge(var.settings, { ingestion = "queue", reserved_concurrency = 6 })
  }
}
