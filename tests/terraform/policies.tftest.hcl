# Every policy as rendered, compared in full, and the wiring between the modules.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

override_resource {
  target          = terraform_data.bucket_suffix
  override_during = plan
  values          = { output = "1234abcd" }
}

variables {
  name_prefix  = "eyes"
  environment  = "dev"
  account_id   = "111122223333"
  region       = "us-east-1"
  packages_dir = "build"
  function     = { architecture = "arm64", memory_mb = 512, timeout_seconds = 60, log_retention_days = 14 }
  data         = { noncurrent_version_days = 30, force_destroy = true }
}

run "pipeline" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition = jsonencode(jsondecode(module.iam.policy).Statement) == jsonencode([
      { Sid = "ReadRawObjects", Effect = "Allow", Action = ["s3:GetObjectVersion", "s3:GetObject"], Resource = "arn:aws:s3:::eyes-raw-data-1234abcd/*" },
      { Sid = "TellGoneFromForbidden", Effect = "Allow", Action = "s3:ListBucket", Resource = "arn:aws:s3:::eyes-raw-data-1234abcd" },
      { Sid = "WriteProcessedObjects", Effect = "Allow", Action = ["s3:PutObject", "s3:AbortMultipartUpload"], Resource = "arn:aws:s3:::eyes-processed-data-1234abcd/*" },
      { Sid = "WriteLog", Effect = "Allow", Action = ["logs:PutLogEvents", "logs:CreateLogStream"], Resource = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes-data-processor:*" },
      { Sid = "SendFailedEvents", Effect = "Allow", Action = "sqs:SendMessage", Resource = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter" },
    ])
    error_message = "The execution role's policy changed: ${module.iam.policy}"
  }

  assert {
    condition = alltrue([for role, suffix in { raw = "raw-data-1234abcd", processed = "processed-data-1234abcd" } :
      jsonencode(jsondecode(module.bucket[role].policy).Statement) == jsonencode([
        {
          Sid       = "DenyInsecureTransport", Effect = "Deny", Principal = "*", Action = "s3:*"
          Resource  = ["arn:aws:s3:::eyes-${suffix}/*", "arn:aws:s3:::eyes-${suffix}"]
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
        {
          Sid       = "DenyOutdatedTls", Effect = "Deny", Principal = "*", Action = "s3:*"
          Resource  = ["arn:aws:s3:::eyes-${suffix}/*", "arn:aws:s3:::eyes-${suffix}"]
          Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
        },
      ])
    ])
    error_message = "A bucket policy changed: ${module.bucket["raw"].policy} ${module.bucket["processed"].policy}"
  }

  assert {
    condition = jsonencode(jsondecode(aws_sqs_queue.dead_letter.policy).Statement) == jsonencode([
      {
        Sid       = "DenyInsecureTransport", Effect = "Deny", Principal = "*", Action = "sqs:*"
        Resource  = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ])
    error_message = "The dead-letter queue's policy changed: ${aws_sqs_queue.dead_letter.policy}"
  }

  assert {
    condition     = aws_sqs_queue.dead_letter.name == "eyes-dead-letter" && aws_sqs_queue.dead_letter.sqs_managed_sse_enabled && aws_sqs_queue.dead_letter.message_retention_seconds == 1209600
    error_message = "The dead-letter queue must be encrypted and keep its messages for 14 days."
  }

  assert {
    condition     = aws_lambda_permission.s3.principal == "s3.amazonaws.com" && aws_lambda_permission.s3.action == "lambda:InvokeFunction"
    error_message = "Only S3 may invoke the function."
  }
  assert {
    condition     = aws_lambda_permission.s3.source_arn == "arn:aws:s3:::eyes-raw-data-1234abcd"
    error_message = "Only the raw bucket may invoke the function, not ${aws_lambda_permission.s3.source_arn}."
  }
  assert {
    condition     = aws_lambda_permission.s3.source_account == "111122223333"
    error_message = "Only this account's bucket may invoke the function."
  }

  assert {
    condition     = aws_s3_bucket_notification.raw.bucket == "eyes-raw-data-1234abcd" && length(aws_s3_bucket_notification.raw.lambda_function) == 1
    error_message = "The raw bucket has one notification."
  }
  assert {
    condition = (
      aws_s3_bucket_notification.raw.lambda_function[0].filter_suffix == ".json" &&
      aws_s3_bucket_notification.raw.lambda_function[0].lambda_function_arn == "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor" &&
      aws_s3_bucket_notification.raw.lambda_function[0].events == toset(["s3:ObjectCreated:*"])
    )
    error_message = "The notification must send created .json objects to the function."
  }
}

run "bucket" {
  command = plan

  module {
    source = "./modules/s3"
  }

  variables {
    name                    = "eyes-raw"
    arn                     = "arn:aws:s3:::eyes-raw"
    noncurrent_version_days = 30
    force_destroy           = false
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "Versioning is off."
  }
  assert {
    condition = (
      aws_s3_bucket_public_access_block.this.block_public_acls && aws_s3_bucket_public_access_block.this.block_public_policy &&
      aws_s3_bucket_public_access_block.this.ignore_public_acls && aws_s3_bucket_public_access_block.this.restrict_public_buckets
    )
    error_message = "Public access is not blocked in all four ways."
  }
  assert {
    condition     = aws_s3_bucket_ownership_controls.this.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "ACLs are on."
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "Encryption at rest is not set."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.abort_incomplete_multipart_upload[0].days_after_initiation if length(rule.abort_incomplete_multipart_upload) > 0] == [1]
    error_message = "Stale multipart uploads are not aborted after a day."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.noncurrent_version_expiration[0].noncurrent_days if length(rule.noncurrent_version_expiration) > 0] == [30]
    error_message = "Old versions do not expire after 30 days."
  }
  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.status == "Enabled"])
    error_message = "A lifecycle rule is off."
  }
}

run "role" {
  command = plan

  module {
    source = "./modules/iam"
  }

  variables {
    role_name             = "eyes"
    raw_bucket_arn        = "arn:aws:s3:::eyes-raw"
    processed_bucket_arn  = "arn:aws:s3:::eyes-processed"
    log_group_arn         = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes"
    dead_letter_queue_arn = "arn:aws:sqs:us-east-1:111122223333:eyes"
  }

  assert {
    condition = jsonencode(jsondecode(aws_iam_role.execution.assume_role_policy).Statement) == jsonencode([
      { Sid = "LambdaOnly", Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } },
    ])
    error_message = "Somebody else than Lambda may take on the role: ${aws_iam_role.execution.assume_role_policy}"
  }
  assert {
    condition     = jsonencode(jsondecode(aws_iam_role_policy.execution.policy)) == jsonencode(jsondecode(output.policy))
    error_message = "The role has another policy than the one that the pipeline test compares."
  }
}

run "function" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    name                  = "eyes"
    log_group_name        = "/aws/lambda/eyes"
    package               = "build/function.zip"
    role_arn              = "arn:aws:iam::111122223333:role/eyes"
    layer_arns            = ["arn:aws:lambda:us-east-1:111122223333:layer:eyes:1"]
    environment_variables = { PROCESSED_BUCKET = "eyes-processed" }
    failure_queue_arn     = "arn:aws:sqs:us-east-1:111122223333:eyes"
    settings              = { architecture = "arm64", memory_mb = 512, timeout_seconds = 60, log_retention_days = 14 }
  }

  assert {
    condition     = aws_lambda_function.this.runtime == "python3.12" && aws_lambda_function.this.handler == "lambda_function.lambda_handler"
    error_message = "The function runs lambda_function.lambda_handler on Python 3.12."
  }
  assert {
    condition     = aws_lambda_function.this.architectures == tolist(["arm64"]) && aws_lambda_function.this.memory_size == 512 && aws_lambda_function.this.timeout == 60
    error_message = "The function's size is not what the settings say."
  }
  assert {
    condition     = aws_lambda_function.this.layers == tolist(["arn:aws:lambda:us-east-1:111122223333:layer:eyes:1"])
    error_message = "The function lacks its layer."
  }
  assert {
    condition     = aws_lambda_function.this.source_code_hash == filebase64sha256("build/function.zip")
    error_message = "A changed package would not be deployed."
  }
  assert {
    condition     = aws_lambda_function.this.logging_config[0].log_format == "JSON" && aws_lambda_function.this.logging_config[0].log_group == "/aws/lambda/eyes"
    error_message = "The function must log JSON into its own group."
  }
  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/eyes" && aws_cloudwatch_log_group.this.retention_in_days == 14
    error_message = "The log is kept for 14 days."
  }
  assert {
    condition = (
      aws_lambda_function_event_invoke_config.this.maximum_retry_attempts == 2 &&
      aws_lambda_function_event_invoke_config.this.maximum_event_age_in_seconds == 21600 &&
      aws_lambda_function_event_invoke_config.this.destination_config[0].on_failure[0].destination == "arn:aws:sqs:us-east-1:111122223333:eyes"
    )
    error_message = "A failed event must be retried twice within six hours and then go to the failure queue."
  }
}

run "layer" {
  command = plan

  module {
    source = "./modules/layers"
  }

  variables {
    name         = "eyes"
    package      = "build/layer-arm64.zip"
    architecture = "arm64"
  }

  assert {
    condition     = aws_lambda_layer_version.this.compatible_runtimes == toset(["python3.12"]) && aws_lambda_layer_version.this.compatible_architectures == toset(["arm64"])
    error_message = "The layer is for Python 3.12 on the function's processor."
  }
  assert {
    condition     = aws_lambda_layer_version.this.source_code_hash == filebase64sha256("build/layer-arm64.zip")
    error_message = "A changed layer package would not be deployed."
  }
}
