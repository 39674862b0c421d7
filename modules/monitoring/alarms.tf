locals {
  request_filter = "EntireBucket"
  function       = { FunctionName = var.watched.function_name }
  ingestion      = { QueueName = var.watched.ingestion_queue }
  dead_letter    = { QueueName = var.watched.dead_letter_queue }
  service        = { service = var.watched.function_name }
  requests       = { BucketName = var.watched.raw_bucket, FilterId = local.request_filter }

  # The handler stops by itself 10 seconds before its timeout, so no invocation runs much beyond that point.
  slow_seconds = min(0.8 * var.watched.timeout_seconds, var.watched.timeout_seconds - 12)

  # A failed message returns after the visibility timeout. The period is longer than that, so repeated failures keep one
  # alarm on instead of raising several.
  file_period = 60 * ceil(var.watched.redelivery_seconds / 60) + 300
  retries     = "in direct mode twice within minutes, in queue mode four times, ${ceil(var.watched.redelivery_seconds / 60)} minutes apart"

  # Each description says what happened, its impact and the first command, for whoever is woken by it. The command names
  # the environment: otherwise it would act on dev. The alarm's section in the runbook has the rest.
  alarms = {
    function-errors = {
      namespace   = "AWS/Lambda"
      metric      = "Errors"
      dimensions  = local.function
      statistic   = "Sum"
      period      = 300
      above       = 0
      description = <<-EOT
        Invocations fail for a reason other than the content of a file: in direct mode for every file that cannot be processed, in queue mode if the function crashes or does not start.
        Impact: files are late; nothing is lost. Failed events are retried, ${local.retries}. Then they are kept in ${var.watched.dead_letter_queue} for 14 days.
        Start with: ./deploy.sh logs ${var.environment} --once --since 1h
      EOT
    }
    function-throttles = {
      namespace   = "AWS/Lambda"
      metric      = "Throttles"
      dimensions  = local.function
      statistic   = "Sum"
      period      = 300
      above       = 0
      description = <<-EOT
        Lambda is throttling the function, because the account or the function has reached its concurrency limit.
        Impact: files are late; nothing is lost yet. Events are retried for hours, then kept in ${var.watched.dead_letter_queue} for 14 days.
        Start with: ./deploy.sh status ${var.environment}
      EOT
    }
    function-duration = {
      namespace   = "AWS/Lambda"
      metric      = "Duration"
      dimensions  = local.function
      statistic   = "Maximum"
      period      = 300
      above       = floor(1000 * local.slow_seconds)
      description = <<-EOT
        An invocation took more than ${floor(local.slow_seconds)} of its ${var.watched.timeout_seconds} seconds. The function stops by itself 10 seconds before the limit.
        Impact: none yet; larger files will fail. Raise timeout_seconds, or memory_mb, which also adds processor time.
        Start with: ./deploy.sh logs ${var.environment} --once --since 1h
      EOT
    }
    rejected-files = {
      namespace   = var.watched.metrics_namespace
      metric      = "FilesRejected"
      dimensions  = local.service
      statistic   = "Sum"
      period      = 300
      above       = 0
      description = <<-EOT
        Files break the input rules. None of their content was written, and they are not retried.
        Impact: these files have no result until their senders correct them and upload them again. All other files are processed.
        Start with: ./deploy.sh failures ${var.environment}
      EOT
    }
    failed-files = {
      namespace   = var.watched.metrics_namespace
      metric      = "FilesFailed"
      dimensions  = local.service
      statistic   = "Sum"
      period      = local.file_period
      above       = 0
      description = <<-EOT
        Files could not be processed for a reason other than their content, or a message was not an S3 event.
        Impact: files are late; nothing is lost. Failed events are retried, ${local.retries}. Then they are kept in ${var.watched.dead_letter_queue} for 14 days.
        Start with: ./deploy.sh logs ${var.environment} --once --since 1h
      EOT
    }
    lost-events = {
      namespace   = "AWS/Lambda"
      metric      = "DestinationDeliveryFailures"
      dimensions  = local.function
      statistic   = "Sum"
      period      = 300
      above       = 0
      description = <<-EOT
        Lambda could not send failed events to ${var.watched.dead_letter_queue}: somebody changed the queue, its key or the function's role.
        Impact: these events are lost; their uploads are not, but have no result until an audit with --repair sends them again.
        Start with: ./deploy.sh drift ${var.environment}
      EOT
    }
    dead-letter-queue = {
      namespace   = "AWS/SQS"
      metric      = "ApproximateNumberOfMessagesVisible"
      dimensions  = local.dead_letter
      statistic   = "Maximum"
      period      = 300
      above       = 0
      missing     = "ignore" # SQS publishes no metrics after six hours without activity; the messages stay
      description = <<-EOT
        Events could not be processed, and their retries are used up.
        Impact: their files have no result. ${var.watched.dead_letter_queue} keeps the events for 14 days, in queue mode counted from the upload.
        Start with: ./deploy.sh failures ${var.environment}
      EOT
    }
    oldest-message = {
      namespace   = "AWS/SQS"
      metric      = "ApproximateAgeOfOldestMessage"
      dimensions  = local.ingestion
      statistic   = "Maximum"
      period      = 300
      above       = var.watched.oldest_message_seconds
      description = <<-EOT
        Events have been in ${var.watched.ingestion_queue} for more than ${var.watched.oldest_message_seconds} seconds.
        Impact: files are late; nothing is lost. The queue keeps the events for 14 days.
        Start with: ./deploy.sh status ${var.environment}
      EOT
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description}Runbook: docs/operations.md#${each.key}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.period
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  evaluation_periods  = 1
  treat_missing_data  = lookup(each.value, "missing", "notBreaching") # without uploads there is no data
  alarm_actions       = [module.alarms.arn]
  ok_actions          = [module.alarms.arn]
  tags                = var.tags
}

# S3 counts a bucket's requests only when asked to.
resource "aws_s3_bucket_metric" "uploads" {
  count  = var.request_metrics ? 1 : 0
  bucket = var.watched.raw_bucket
  name   = local.request_filter
}

resource "aws_cloudwatch_metric_alarm" "nothing_processed" {
  count = var.request_metrics ? 1 : 0

  alarm_name          = "${var.name}-nothing-processed"
  alarm_description   = <<-EOT
    Files were uploaded to ${var.watched.raw_bucket}, and for 15 minutes no file was processed, was rejected or failed.
    Impact: if the bucket's event notification is gone, no new upload is processed until it is back. The uploads are not lost.
    This is a false alarm if only keys without .json were uploaded, if a single upload takes longer, or if S3 counted it minutes late. The next file that is processed ends the alarm.
    Start with: ./deploy.sh audit ${var.environment}
    Runbook: docs/operations.md#nothing-processed
  EOT
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 3
  treat_missing_data  = "ignore" # no outcome yet, and no other upload
  alarm_actions       = [module.alarms.arn]
  ok_actions          = [module.alarms.arn]
  tags                = var.tags

  # 0 if any file had an outcome, else 1 if any was uploaded; a period with neither repeats the previous value. So one
  # upload is enough to raise the alarm, and an outcome in the next period ends it.
  metric_query {
    id          = "stuck"
    label       = "Uploads without any outcome"
    expression  = "FILL(IF(FILL(processed, 0) + FILL(rejected, 0) + FILL(failed, 0) + FILL(gone, 0) > 0, 0, IF(uploads > 0, 1)), REPEAT)"
    return_data = true
  }

  metric_query {
    id = "uploads"

    metric {
      namespace   = "AWS/S3"
      metric_name = "PutRequests"
      dimensions  = local.requests
      stat        = "Sum"
      period      = 300
    }
  }

  dynamic "metric_query" {
    for_each = { processed = "FilesProcessed", rejected = "FilesRejected", failed = "FilesFailed", gone = "FilesGone" }

    content {
      id = metric_query.key

      metric {
        namespace   = var.watched.metrics_namespace
        metric_name = metric_query.value
        dimensions  = local.service
        stat        = "Sum"
        period      = 300
      }
    }
  }
}
