# What invokes the function: S3 in direct mode, the queue in queue mode. The permissions for both exist in both modes.

locals {
  # AWS advises six times the timeout, so that a message stays hidden while Lambda retries a throttled batch.
  visibility_timeout_seconds = 6 * var.settings.timeout_seconds + var.settings.batching_window_seconds

  # The function removes results of deleted objects when it is notified of the deletion. Deletions by a lifecycle rule
  # have event types of their own; the only one needed is for the delete marker, because noncurrent versions have no
  # results.
  deletions = ["s3:ObjectRemoved:*", "s3:LifecycleExpiration:DeleteMarkerCreated"]
  events    = concat(["s3:ObjectCreated:*"], var.settings.stale_results == "remove" ? local.deletions : [])
}

resource "aws_lambda_permission" "s3" {
  statement_id  = "AllowRawBucket"
  action        = "lambda:InvokeFunction"
  function_name = module.lambda.function_name
  qualifier     = module.lambda.alias
  principal     = "s3.amazonaws.com"
  source_arn    = local.bucket_arns.raw
  # A bucket ARN contains no account: without this, anyone who re-creates a deleted bucket's name could invoke the
  # function.
  source_account = var.account_id
}

# The only notification resource of the raw bucket: a second one would silently replace this one.
resource "aws_s3_bucket_notification" "raw" {
  bucket = module.bucket["raw"].name

  dynamic "lambda_function" {
    for_each = var.settings.ingestion == "direct" ? [local.alias_arn] : []

    content {
      lambda_function_arn = lambda_function.value
      events              = local.events
      filter_suffix       = ".json"
    }
  }

  dynamic "queue" {
    for_each = var.settings.ingestion == "queue" ? [local.queue_arns.ingestion] : []

    content {
      queue_arn     = queue.value
      events        = local.events
      filter_suffix = ".json"
    }
  }

  # S3 checks its permission to send when the notification is created, and the consumer must already exist.
  depends_on = [aws_lambda_permission.s3, module.queue, aws_lambda_event_source_mapping.queue]

  lifecycle {
    precondition {
      condition     = length(distinct(values(local.buckets))) == length(local.buckets)
      error_message = "Two buckets have the same name, so the function's results would invoke it again. Give them different names."
    }
  }
}

resource "aws_lambda_event_source_mapping" "queue" {
  event_source_arn                   = module.queue.ingestion_arn
  function_name                      = local.alias_arn
  batch_size                         = var.settings.batch_size
  maximum_batching_window_in_seconds = var.settings.batching_window_seconds
  function_response_types            = ["ReportBatchItemFailures"] # only failed messages are redelivered

  # Limits concurrency at the queue. With reserved concurrency alone, Lambda would receive messages that it must then
  # throttle, and after five receives they would move to the dead-letter queue unprocessed.
  scaling_config {
    maximum_concurrency = var.settings.maximum_concurrency
  }

  lifecycle {
    precondition {
      condition     = local.visibility_timeout_seconds >= var.settings.timeout_seconds && local.visibility_timeout_seconds <= 43200
      error_message = "${var.environment}: the queue's visibility timeout of ${local.visibility_timeout_seconds} s does not fit a function that runs for up to ${var.settings.timeout_seconds} s: it must be at least that and at most 43200 s. Reduce timeout_seconds or batching_window_seconds."
    }

    precondition {
      condition     = var.settings.reserved_concurrency == null ? true : var.settings.reserved_concurrency >= var.settings.maximum_concurrency
      error_message = "${var.environment}: the queue may start ${var.settings.maximum_concurrency} concurrent invocations, and reserved_concurrency allows ${jsonencode(var.settings.reserved_concurrency)}. Raise reserved_concurrency or lower maximum_concurrency."
    }
  }
}
