resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_116:Failed events go to the on-failure destination, which keeps the whole event and the reason
  #checkov:skip=CKV_AWS_272:The package is built reproducibly from hashed sources, and only the deploy role may change the code
  function_name    = var.name
  description      = "Trims retina-scan records to patient_id and patient_name"
  role             = var.role_arn
  runtime          = "python3.12"
  handler          = "lambda_function.lambda_handler"
  architectures    = [var.settings.architecture]
  memory_size      = var.settings.memory_mb
  timeout          = var.settings.timeout_seconds
  layers           = var.layer_arns
  filename         = var.package
  source_code_hash = fileexists(var.package) ? filebase64sha256(var.package) : null
  publish          = true # every change becomes a numbered version: code, layers and settings together
  kms_key_arn      = var.kms_key_arn
  tags             = var.tags

  reserved_concurrent_executions = coalesce(var.settings.reserved_concurrency, -1)

  environment {
    variables = var.environment_variables
  }

  logging_config {
    log_group             = aws_cloudwatch_log_group.this.name
    log_format            = "JSON"
    application_log_level = "INFO" # above it, Lambda drops the lines that carry the metrics, because they have no level
  }

  tracing_config {
    mode = "Active"
  }

  dynamic "vpc_config" {
    for_each = var.network[*]

    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  lifecycle {
    precondition {
      condition     = fileexists(var.package)
      error_message = "The function package ${var.package} is missing. Run ./deploy.sh build."
    }
  }
}

# If the function exists and the network does not yet, the provider drops the network from the plan, because it compares
# IDs that are still unknown (terraform-provider-aws issue 8509). The function then stays outside or, if more of it
# changes, Terraform stops with an inconsistent plan. When this check fails, ./deploy.sh applies the network first.
check "function_is_in_its_network" {
  assert {
    condition     = var.network == null || length(aws_lambda_function.this.vpc_config) > 0
    error_message = "The network of ${var.name} is new, and the function can join it only once it exists. ./deploy.sh applies the network first; by hand, apply twice."
  }
}

# Triggers invoke this alias. A rollback points it to an earlier version, without a build.
resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "The version that processes uploads"
  function_name    = aws_lambda_function.this.function_name
  function_version = aws_lambda_function.this.version
}

# Created before the function, whose role may not create it: otherwise the first invocation would create a group that
# Terraform does not own and that keeps its logs forever.
resource "aws_cloudwatch_log_group" "this" {
  name              = var.log_group_name
  retention_in_days = var.settings.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

# S3 invokes the function asynchronously: Lambda keeps the event, retries, and finally sends it to the queue.
resource "aws_lambda_function_event_invoke_config" "this" {
  function_name                = aws_lambda_alias.live.function_name
  qualifier                    = aws_lambda_alias.live.name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 6 * 3600 # the longest that Lambda offers; unset, every plan would show a change

  destination_config {
    on_failure {
      destination = var.failure_queue_arn
    }
  }
}
