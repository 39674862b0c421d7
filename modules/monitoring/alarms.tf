locals {
  request_filter = "EntireBucket"
  function       = { FunctionName = var.watched.function_name }
  ingestion      = { QueueName = var.watched.ingestion_queue }
  dead_letter    = { QueueName = var.watched.dead_letter_queue }
  service        = { service = var.watched.function_name }
  requests       = { BucketName = var.watched.raw_bucket, FilterId = local.request_filter }

  # The handler stops by itself 10 seconds before its time is up, so nothing takes much longer than that.
  slow_seconds = min(0.8 * var.watched.timeout_seconds, var.watched.timeout_seconds - 12)

  # What failed comes back again and again. Looking back further than it stays away, an alarm goes off once for it.
  file_period = 60 * ceil(var.watched.redelivery_seconds / 60) + 300
  retries     = "The event is tried again: in direct mode twice within minutes, in queue mode four times, ${ceil(var.watched.redelivery_seconds / 60)} minutes apart. Then it waits in ${var.watched.dead_letter_queue}."

  # Commands name the environment: one without it acts on dev, whatever the alarm is about.
  deploy   = "./deploy.sh deploy ${var.environment}"
  repair   = "./deploy.sh audit ${var.environment} --repair"
  failures = "./deploy.sh failures ${var.environment}"

  # Each description says what to look at and what to do, for whoever is woken by it.
  alarms = {
    function-errors = {
      namespace   = "AWS/Lambda", metric = "Errors", dimensions = local.function
      statistic   = "Sum", period = 300, above = 0
      description = "Invocations fail, and not because of what is in a file: in direct mode with every file that could not be processed, in queue mode when the function dies. Look at the newest ERROR lines of ${var.watched.log_group_name}: the reason is in them. Remove the cause. ${local.retries}"
    }
    function-throttles = {
      namespace   = "AWS/Lambda", metric = "Throttles", dimensions = local.function
      statistic   = "Sum", period = 300, above = 0
      description = "Lambda turns invocations away; they are retried for hours, so nothing is lost yet. Look at ConcurrentExecutions of the account and of the function. Ask AWS for a higher limit, or raise reserved_concurrency."
    }
    function-duration = {
      namespace   = "AWS/Lambda", metric = "Duration", dimensions = local.function
      statistic   = "Maximum", period = 300, above = floor(1000 * local.slow_seconds)
      description = "An invocation took more than ${floor(local.slow_seconds)} of its ${var.watched.timeout_seconds} seconds; it gives up 10 seconds before the end. Look at bytes_in and milliseconds in ${var.watched.log_group_name}. Raise timeout_seconds, or memory_mb, with which the processor gets faster."
    }
    rejected-files = {
      namespace   = var.watched.metrics_namespace, metric = "FilesRejected", dimensions = local.service
      statistic   = "Sum", period = 300, above = 0
      description = "Files break the input rules; nothing of them was written, and nothing is tried again. Look at them with ${local.failures}: key, reason, record and field. Have the sender mend each file and upload it again, which settles it."
    }
    failed-files = {
      namespace   = var.watched.metrics_namespace, metric = "FilesFailed", dimensions = local.service
      statistic   = "Sum", period = local.file_period, above = 0
      description = "Files or messages could not be processed, and not because of what is in them. Look at the lines with the message failed in ${var.watched.log_group_name}: key and reason. Remove the cause. ${local.retries}"
    }
    lost-events = {
      namespace = "AWS/Lambda", metric = "DestinationDeliveryFailures", dimensions = local.function
      statistic = "Sum", period = 300, above = 0
      description = join(" ", [
        "Lambda could not put failed events into ${var.watched.dead_letter_queue}, so they are gone; the uploads are not.",
        "Look at the queue, its key and the function's role: somebody changed them.",
        "Run ${local.deploy} to restore them, then ${local.repair} to process the missing uploads.",
      ])
    }
    dead-letter-queue = {
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = local.dead_letter
      statistic   = "Maximum", period = 300, above = 0
      description = "Events could not be processed and wait in ${var.watched.dead_letter_queue} for 14 days. Look at the messages: they name the object. Remove the cause, then upload the object again or send the event back to ${var.watched.ingestion_queue}."
      missing     = "ignore" # SQS counts no longer after six hours in which nobody used the queue; its messages stay
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
  treat_missing_data  = lookup(each.value, "missing", "notBreaching") # no uploads, no figures, no trouble
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

  alarm_name = "${var.name}-nothing-processed"
  alarm_description = join(" ", [
    "Something was uploaded to ${var.watched.raw_bucket}, and for 15 minutes since then no file came out, not even as rejected or failed.",
    "Look at the bucket's event notification, the function's errors and throttles, and ${var.watched.ingestion_queue}.",
    "Then run ${local.deploy} to restore the notification, and ${local.repair} to process the missing uploads.",
    "Keys without .json, one upload that itself takes longer, and one that S3 counts minutes late, raise this alarm too. The next file that comes out ends it.",
  ])
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 3
  treat_missing_data  = "ignore" # nothing has come out as yet, and nothing else was uploaded
  alarm_actions       = [module.alarms.arn]
  ok_actions          = [module.alarms.arn]
  tags                = var.tags

  # 0 when something came out, else 1 when something was uploaded. In a period in which nothing happened it stays as it
  # was: so one upload is enough, and one whose outcome falls into the next period is none.
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
