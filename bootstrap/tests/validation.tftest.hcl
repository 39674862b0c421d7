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

override_resource {
  target          = aws_s3_bucket.state
  override_during = plan
  values          = { id = "state" }
}

run "project_name_in_capitals" {
  command         = plan
  expect_failures = [var.project_name]

  variables {
    project_name = "Eyes"
  }
}

run "state_bucket_name_too_long" {
  command         = plan
  expect_failures = [var.project_name]

  variables {
    project_name = "a23456789-123456789-123456789"
    region       = "ap-southeast-2"
  }
}

run "unknown_region" {
  command         = plan
  expect_failures = [var.region]

  variables {
    region = "Frankfurt"
  }
}

run "region_of_another_partition" {
  command         = plan
  expect_failures = [var.region]

  variables {
    region = "cn-north-1"
  }
}

run "environment_name_with_a_hyphen" {
  command         = plan
  expect_failures = [var.environments]

  variables {
    environments = ["pre-prod"]
  }
}

run "repository_without_owner" {
  command         = plan
  expect_failures = [var.github]

  variables {
    github = { repository = "retina" }
  }
}

run "repository_with_a_wildcard" {
  command         = plan
  expect_failures = [var.github]

  variables {
    github = { repository = "acme/*" }
  }
}

run "subject_of_another_repository" {
  command         = plan
  expect_failures = [var.github]

  variables {
    github = { repository = "acme/retina", subject_prefixes = ["repo:acme@1/other@2"] }
  }
}

run "subject_with_a_wildcard" {
  command         = plan
  expect_failures = [var.github]

  variables {
    github = { repository = "acme/retina", subject_prefixes = ["repo:acme@*/retina@*"] }
  }
}

run "subject_with_a_branch" {
  command         = plan
  expect_failures = [var.github]

  variables {
    github = { repository = "acme/retina", subject_prefixes = ["repo:acme/retina:ref:refs/heads/main"] }
  }
}

run "no_subject" {
  command         = plan
  expect_failures = [var.github]

  variables {
    github = { repository = "acme/retina", subject_prefixes = [] }
  }
}

run "branch_with_a_wildcard" {
  command         = plan
  expect_failures = [var.github]

  variables {
    github = { repository = "acme/retina", branch = "release/*" }
  }
}

run "branch_as_a_ref" {
  command         = plan
  expect_failures = [var.github]

  variables {
    github = { repository = "acme/retina", branch = "refs/heads/main" }
  }
}

run "key_prefix_that_is_a_pattern" {
  command         = plan
  expect_failures = [var.key_prefixes]

  variables {
    key_prefixes = { dev = "clinic-*/" }
  }
}

run "github_in_another_partition" {
  command         = plan
  expect_failures = [aws_iam_role.github]

  override_data {
    target = data.aws_partition.current
    values = { partition = "aws-us-gov" }
  }

  variables {
    github = { repository = "acme/retina" }
  }
}
