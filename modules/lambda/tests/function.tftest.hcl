# The function, its log and its failed events.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variables {
  name                  = "eyes"
  log_group_name        = "/aws/lambda/eyes"
  package               = "../../build/function.zip"
  role_arn              = "arn:aws:iam::111122223333:role/eyes"
  layer_arns            = ["arn:aws:lambda:us-east-1:111122223333:layer:eyes:1"]
  environment_variables = { PROCESSED_BUCKET = "eyes-processed" }
  kms_key_arn           = "arn:aws:kms:us-east-1:111122223333:key/k"
  failure_queue_arn     = "arn:aws:sqs:us-east-1:111122223333:eyes"
  network               = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
  settings              = { architecture = "arm64", memory_mb = 512, timeout_seconds = 60, log_retention_days = 14, reserved_concurrency = 3 }
}

run "function" {
  command = plan

  assert {
    condition     = aws_lambda_function.this.runtime == "python3.12" && aws_lambda_function.this.handler == "lambda_function.lambda_handler"
    error_message = "The function must run lambda_function.lambda_handler on Python 3.12."
  }
  assert {
    condition     = aws_lambda_function.this.architectures == tolist(["arm64"]) && aws_lambda_function.this.memory_size == 512 && aws_lambda_function.this.timeout == 60
    error_message = "Architecture, memory or timeout do not match the settings."
  }
  assert {
    condition     = aws_lambda_function.this.layers == tolist(["arn:aws:lambda:us-east-1:111122223333:layer:eyes:1"])
    error_message = "The function lacks its layer."
  }
  assert {
    condition     = aws_lambda_function.this.source_code_hash == filebase64sha256("../../build/function.zip")
    error_message = "A changed package would not be deployed."
  }
  assert {
    condition     = aws_lambda_function.this.logging_config[0].log_format == "JSON" && aws_lambda_function.this.logging_config[0].log_group == "/aws/lambda/eyes"
    error_message = "The function must log JSON into its own group."
  }
  assert {
    condition     = aws_lambda_function.this.logging_config[0].application_log_level == "INFO"
    error_message = "At a log level above INFO, Lambda drops the metrics."
  }
  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/eyes" && aws_cloudwatch_log_group.this.retention_in_days == 14
    error_message = "The log must be kept for 14 days."
  }
  assert {
    condition     = aws_cloudwatch_log_group.this.kms_key_id == "arn:aws:kms:us-east-1:111122223333:key/k" && aws_lambda_function.this.kms_key_arn == "arn:aws:kms:us-east-1:111122223333:key/k"
    error_message = "Log and environment variables must be encrypted with the environment's key."
  }
  assert {
    condition     = aws_lambda_function.this.tracing_config[0].mode == "Active" && aws_lambda_function.this.reserved_concurrent_executions == 3
    error_message = "Tracing is off, or the reserved concurrency does not match the settings."
  }
  assert {
    condition     = aws_lambda_function.this.vpc_config[0].subnet_ids == toset(["subnet-1"]) && aws_lambda_function.this.vpc_config[0].security_group_ids == toset(["sg-1"])
    error_message = "The function is not in its network."
  }
  assert {
    condition = (
      aws_lambda_function_event_invoke_config.this.qualifier == aws_lambda_alias.live.name &&
      aws_lambda_function_event_invoke_config.this.maximum_retry_attempts == 2 &&
      aws_lambda_function_event_invoke_config.this.maximum_event_age_in_seconds == 21600 &&
      aws_lambda_function_event_invoke_config.this.destination_config[0].on_failure[0].destination == "arn:aws:sqs:us-east-1:111122223333:eyes"
    )
    error_message = "A failed event must be retried twice within six hours and then go to the failure queue."
  }
  assert {
    condition     = aws_lambda_function.this.publish && aws_lambda_alias.live.name == "live"
    error_message = "Without published versions and an alias there is nothing to roll back to."
  }
  assert {
    condition     = aws_lambda_function.this.environment[0].variables == tomap({ PROCESSED_BUCKET = "eyes-processed" })
    error_message = "The function has other environment variables than the given ones."
  }
}

run "missing_package" {
  command = plan

  variables {
    package = "no/such/function.zip"
  }

  expect_failures = [aws_lambda_function.this]
}
