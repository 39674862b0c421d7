# What starts the function: S3 itself in direct mode, the queue in queue mode. Both ways stand ready in both modes.

locals {
  # A message must stay hidden for as long as the function may be retried on it: AWS advises six times the timeout.
  visibility_timeout_seconds = 6 * var.function.timeout_seconds + var.ingestion.batching_window_seconds

  # Results of deleted objects are removed when somebody tells of the deletion. What a lifecycle rule deletes is an event
  # of its own kind, and of those the one that makes an object go: its older versions are no longer read by anybody.
  deletions = ["s3:ObjectRemoved:*", "s3:LifecycleExpiration:DeleteMarkerCreated"]
  events    = concat(["s3:ObjectCreated:*"], var.data.stale_results == "remove" ? local.deletions : [])
}

resource "aws_lambda_permission" "s3" {
  statement_id  = "AllowRawBucket"
  action        = "lambda:InvokeFunction"
  function_name = module.lambda.function_name
  qualifier     = module.lambda.alias
  principal     = "s3.amazonaws.com"
  source_arn    = local.bucket_arns.raw
  # A bucket ARN holds no account: without this, whoever re-creates a deleted bucket's name could invoke the function.
  source_account = var.account_id
}

# The only notification resource of the raw bucket: a second one would silently replace this one.
resource "aws_s3_bucket_notification" "raw" {
  bucket = module.bucket["raw"].name

  dynamic "lambda_function" {
    for_each = var.ingestion.mode == "direct" ? [local.alias_arn] : []

    content {
      lambda_function_arn = lambda_function.value
      events              = local.events
      filter_suffix       = ".json"
    }
  }

  dynamic "queue" {
    for_each = var.ingestion.mode == "queue" ? [local.queue_arns.ingestion] : []

    content {
      queue_arn     = queue.value
      events        = local.events
      filter_suffix = ".json"
    }
  }

  # S3 tests that it may send when the notification is made; and what it sends must find somebody who takes it.
  depends_on = [aws_lambda_permission.s3, module.queue, aws_lambda_event_source_mapping.queue]

  lifecycle {
    precondition {
      condition     = length(distinct(values(local.buckets))) == length(local.buckets)
      error_message = "Two buckets are the same: what the function writes would start it again. Give them different names."
    }
  }
}

resource "aws_lambda_event_source_mapping" "queue" {
  event_source_arn                   = module.queue.ingestion_arn
  function_name                      = local.alias_arn
  batch_size                         = var.ingestion.batch_size
  maximum_batching_window_in_seconds = var.ingestion.batching_window_seconds
  function_response_types            = ["ReportBatchItemFailures"] # only what failed is delivered again

  # Bounds the function where the queue waits. A reserved concurrency would let SQS hand over more than the function takes,
  # and messages would wander into the dead-letter queue unread.
  scaling_config {
    maximum_concurrency = var.ingestion.maximum_concurrency
  }

  lifecycle {
    precondition {
      condition     = local.visibility_timeout_seconds >= var.function.timeout_seconds && local.visibility_timeout_seconds <= 43200
      error_message = "The queue's visibility timeout of ${local.visibility_timeout_seconds} s does not fit a function that runs for up to ${var.function.timeout_seconds} s. Shorten timeout_seconds or batching_window_seconds."
    }

    precondition {
      condition     = var.function.reserved_concurrency == null ? true : var.function.reserved_concurrency >= var.ingestion.maximum_concurrency
      error_message = "The queue may start more invocations at once than reserved_concurrency allows. Raise reserved_concurrency or lower maximum_concurrency."
    }
  }
}
