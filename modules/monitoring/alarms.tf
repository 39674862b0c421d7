locals {
  request_filter = "EntireBucket"
  function       = { FunctionName = var.watched.function_name }
  ingestion      = { QueueName = var.watched.ingestion_queue }
  dead_letter    = { QueueName = var.watched.dead_letter_queue }
  service        = { service = var.watched.function_name }
  requests       = { BucketName = var.watched.raw_bucket, FilterId = local.request_filter }

  # Each description says what to look at and what to do, for whoever is woken by it.
  alarms = {
    function-errors = {
      namespace   = "AWS/Lambda", metric = "Errors", dimensions = local.function
      statistic   = "Sum", period = 300, above = 0
      description = "Invocations fail. Look at the newest ERROR lines of ${var.watched.log_group_name}: the reason is in them. A rejected file: have it mended and uploaded again. Anything else: the event is retried twice and then waits in ${var.watched.dead_letter_queue}."
    }
    function-throttles = {
      namespace   = "AWS/Lambda", metric = "Throttles", dimensions = local.function
      statistic   = "Sum", period = 300, above = 0
      description = "Lambda turns invocations away; they are retried for hours, so nothing is lost yet. Look at ConcurrentExecutions of the account and of the function. Ask AWS for a higher limit, or raise reserved_concurrency."
    }
    function-duration = {
      namespace   = "AWS/Lambda", metric = "Duration", dimensions = local.function
      statistic   = "Maximum", period = 300, above = floor(var.watched.timeout_seconds * 1000 * 0.8)
      description = "An invocation took more than 80 percent of its ${var.watched.timeout_seconds} seconds. Look at bytes_in and milliseconds in ${var.watched.log_group_name}. Raise timeout_seconds, or memory_mb, with which the processor gets faster."
    }
    rejected-files = {
      namespace   = var.watched.metrics_namespace, metric = "FilesRejected", dimensions = local.service
      statistic   = "Sum", period = 300, above = 0
      description = "Files break the input rules; nothing of them was written. Look at the lines with the message rejected in ${var.watched.log_group_name}: key, reason, record and field. Have the sender mend the file and upload it again."
    }
    dead-letter-queue = {
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = local.dead_letter
      statistic   = "Maximum", period = 300, above = 0
      description = "Events could not be processed and wait in ${var.watched.dead_letter_queue} for 14 days. Look at the messages: they name the object. Remove the cause, then upload the object again or send the event back to ${var.watched.ingestion_queue}."
    }
    oldest-message = {
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", dimensions = local.ingestion
      statistic   = "Maximum", period = 300, above = var.watched.oldest_message_seconds
      description = "Uploads wait for more than ${var.watched.oldest_message_seconds} seconds in ${var.watched.ingestion_queue}. Look at the number of messages and at the function's errors and throttles. With many messages and no errors raise maximum_concurrency."
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.period
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching" # no uploads, no figures, no trouble
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
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
  alarm_description   = "Files were uploaded to ${var.watched.raw_bucket} and none came out, not even as rejected, for 15 minutes. Look at the bucket's event notification, the function's errors and throttles, and ${var.watched.ingestion_queue}. Then deploy again, which restores the notification, and upload the files again. Uploads of keys without .json alone raise it too."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = var.tags

  metric_query {
    id          = "stuck"
    label       = "Uploads without any outcome"
    expression  = "IF(uploads > 0 AND FILL(processed, 0) + FILL(rejected, 0) + FILL(gone, 0) == 0, uploads, 0)"
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
    for_each = { processed = "FilesProcessed", rejected = "FilesRejected", gone = "FilesGone" }

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
