# Settings that cannot work are refused, and those that may be a mistake are warned about.

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

run "account_without_12_digits" {
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

run "unknown_region" {
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

run "alarms_notify_nobody" {
  command         = plan
  expect_failures = [check.alarms_reach_somebody]

  variables {
    environments = { prod = {} }
  }
}

run "alarms_notify_nobody_where_versions_are_locked" {
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

run "nothing_to_warn_about" {
  command = plan

  variables {
    environments = {
      dev  = { access_log_days = 30, log_retention_days = 14 }
      prod = { ingestion = "queue", noncurrent_version_days = 90, alarm_emails = ["oncall@example.org"] }
      test = { force_destroy = true }
    }
  }
}
