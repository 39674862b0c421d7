# What starts the function, and what notifies of verdicts.

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

override_resource {
  target          = module.rejections.aws_sns_topic.this
  override_during = plan
  values          = { arn = "arn:aws:sns:us-east-1:111122223333:eyes-rejections" }
}

run "direct_trigger" {
  command = plan

  assert {
    condition     = aws_lambda_permission.s3.principal == "s3.amazonaws.com" && aws_lambda_permission.s3.action == "lambda:InvokeFunction"
    error_message = "Another service than S3 may invoke the function."
  }
  assert {
    condition     = aws_lambda_permission.s3.source_arn == "arn:aws:s3:::eyes-raw-data-1234abcd"
    error_message = "Another bucket than the raw one may invoke the function."
  }
  assert {
    condition     = aws_lambda_permission.s3.source_account == "111122223333"
    error_message = "A bucket of another account may invoke the function."
  }
  assert {
    condition     = aws_lambda_permission.s3.qualifier == "live"
    error_message = "S3 invokes the alias, so the permission must be on the alias and not on the function."
  }
  assert {
    condition     = aws_s3_bucket_notification.raw.bucket == "eyes-raw-data-1234abcd" && length(aws_s3_bucket_notification.raw.queue) == 0
    error_message = "In direct mode the raw bucket must send nothing to the queue."
  }
  assert {
    condition = (
      one(aws_s3_bucket_notification.raw.lambda_function).filter_suffix == ".json" &&
      one(aws_s3_bucket_notification.raw.lambda_function).lambda_function_arn == "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor:live" &&
      one(aws_s3_bucket_notification.raw.lambda_function).events == toset(["s3:ObjectCreated:*"])
    )
    error_message = "The notification must send created .json objects to the function."
  }
  assert {
    condition = (
      aws_s3_bucket_notification.rejected.bucket == "eyes-rejected-1234abcd" &&
      length(aws_s3_bucket_notification.rejected.lambda_function) + length(aws_s3_bucket_notification.rejected.queue) == 0 &&
      one(aws_s3_bucket_notification.rejected.topic).topic_arn == "arn:aws:sns:us-east-1:111122223333:eyes-rejections" &&
      one(aws_s3_bucket_notification.rejected.topic).events == toset(["s3:ObjectCreated:*"])
    )
    error_message = "New verdicts do not notify the topic, or notify something else."
  }
}

run "queue_trigger" {
  command = plan

  variables {
    settings = merge(var.settings, { ingestion = "queue" })
  }

  assert {
    condition     = length(aws_s3_bucket_notification.raw.lambda_function) == 0
    error_message = "In queue mode S3 must not invoke the function itself."
  }
  assert {
    condition = (
      one(aws_s3_bucket_notification.raw.queue).filter_suffix == ".json" &&
      one(aws_s3_bucket_notification.raw.queue).queue_arn == "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion" &&
      one(aws_s3_bucket_notification.raw.queue).events == toset(["s3:ObjectCreated:*"])
    )
    error_message = "The notification must send created .json objects to the queue."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.queue.function_name == "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor:live"
    error_message = "The queue must invoke the alias, or a rollback would have no effect on it."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.queue.function_response_types == toset(["ReportBatchItemFailures"])
    error_message = "Without partial batch responses, one failed file fails its whole batch."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.queue.scaling_config[0].maximum_concurrency == 7 && aws_lambda_event_source_mapping.queue.batch_size == 3
    error_message = "Maximum concurrency or batch size do not match the settings."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.queue.maximum_batching_window_in_seconds == 5 && local.visibility_timeout_seconds == 6 * 60 + 5
    error_message = "The visibility timeout must be six times the function's timeout plus the batching window."
  }
}

run "results_are_removed" {
  command = plan

  variables {
    settings = merge(var.settings, { stale_results = "remove" })
  }

  assert {
    condition     = one(aws_s3_bucket_notification.raw.lambda_function).events == toset(["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:DeleteMarkerCreated"])
    error_message = "The function is not notified of deletions, so results stay."
  }
}
