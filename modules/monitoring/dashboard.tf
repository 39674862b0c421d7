locals {
  lambda    = ["FunctionName", var.watched.function_name]
  files     = ["service", var.watched.function_name]
  uploads   = ["BucketName", var.watched.raw_bucket, "FilterId", local.request_filter]
  waiting   = ["QueueName", var.watched.ingestion_queue]
  namespace = var.watched.metrics_namespace
  reasons   = "SEARCH('{${local.namespace},reason,service} MetricName=\"FilesRejected\" service=\"${var.watched.function_name}\"', 'Sum', 300)"

  # Rows of three: what became of the files, how fast, what waits or is wrong, and what costs money.
  widgets = [
    { title = "Files: what became of them", stat = "Sum", limits = [], metrics = [
      concat([local.namespace, "FilesProcessed"], local.files, [{ label = "processed" }]),
      concat([local.namespace, "FilesRejected"], local.files, [{ label = "rejected" }]),
      concat([local.namespace, "FilesFailed"], local.files, [{ label = "failed" }]),
      concat([local.namespace, "FilesGone"], local.files, [{ label = "gone before they were read" }]),
      concat(["AWS/S3", "PutRequests"], local.uploads, [{ label = "PUT requests of uploads: one a file, one a part of a large one", yAxis = "right" }]),
    ] },
    { title = "Records in and out: the same number, as a file is taken whole or not at all", stat = "Sum", limits = [], metrics = [
      concat([local.namespace, "RecordsProcessed"], local.files, [{ label = "records" }]),
    ] },
    { title = "Rejected files by reason", stat = "Sum", limits = [], metrics = [[{ expression = local.reasons, label = "" }]] },

    { title = "Milliseconds for a file that was processed", stat = "Average", limits = [], metrics = [
      concat([local.namespace, "ProcessingTime"], local.files, [{ stat = "p50", label = "half of them" }]),
      concat([local.namespace, "ProcessingTime"], local.files, [{ stat = "p99", label = "99 of 100" }]),
      concat([local.namespace, "ProcessingTime"], local.files, [{ stat = "Maximum", label = "longest" }]),
    ] },
    { title = "Milliseconds for an invocation, of one file or a batch", stat = "Average", limits = [{ label = "time limit", value = 1000 * var.watched.timeout_seconds }], metrics = [
      concat(["AWS/Lambda", "Duration"], local.lambda, [{ stat = "p50", label = "half of them" }]),
      concat(["AWS/Lambda", "Duration"], local.lambda, [{ stat = "Maximum", label = "longest" }]),
    ] },
    { title = "Invocations at once", stat = "Maximum", limits = [for most in var.watched.most_at_once[*] : { label = "allowed", value = most }], metrics = [
      concat(["AWS/Lambda", "ConcurrentExecutions"], local.lambda, [{ label = "at once" }]),
    ] },

    { title = "Events in the ingestion queue", stat = "Maximum", limits = [{ label = "too old", value = var.watched.oldest_message_seconds, yAxis = "right" }], metrics = [
      concat(["AWS/SQS", "ApproximateNumberOfMessagesVisible"], local.waiting, [{ label = "waiting" }]),
      concat(["AWS/SQS", "ApproximateNumberOfMessagesNotVisible"], local.waiting, [{ label = "in work, or away after a failure" }]),
      concat(["AWS/SQS", "ApproximateAgeOfOldestMessage"], local.waiting, [{ label = "age of the oldest in seconds", yAxis = "right" }]),
    ] },
    { title = "Errors and throttles", stat = "Sum", limits = [], metrics = [
      concat(["AWS/Lambda", "Errors"], local.lambda, [{ label = "invocations that failed" }]),
      concat(["AWS/Lambda", "Throttles"], local.lambda, [{ label = "invocations turned away" }]),
      concat(["AWS/Lambda", "DestinationDeliveryFailures"], local.lambda, [{ label = "failed events lost" }]),
    ] },
    { title = "Failed events in the dead-letter queue", stat = "Maximum", limits = [], metrics = [
      ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.watched.dead_letter_queue, { label = "failed" }],
    ] },

    { title = "Cost: invocations and their time", stat = "Sum", limits = [], metrics = [
      concat(["AWS/Lambda", "Invocations"], local.lambda, [{ label = "invocations" }]),
      concat(["AWS/Lambda", "Duration"], local.lambda, [{ label = "milliseconds in all", yAxis = "right" }]),
    ] },
    { title = "Cost: requests to the raw bucket and the ingestion queue", stat = "Sum", limits = [], metrics = [
      concat(["AWS/S3", "AllRequests"], local.uploads, [{ label = "raw bucket" }]),
      concat(["AWS/SQS", "NumberOfMessagesReceived"], local.waiting, [{ label = "messages received" }]),
      concat(["AWS/SQS", "NumberOfEmptyReceives"], local.waiting, [{ label = "asked in vain" }]),
    ] },
    { title = "Cost: bytes read", stat = "Sum", limits = [], metrics = [
      concat([local.namespace, "BytesRead"], local.files, [{ label = "bytes of processed files" }]),
    ] },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = concat([{
      type       = "alarm"
      x          = 0
      y          = 0
      width      = 24
      height     = 3
      properties = { title = "Alarms", alarms = var.alarm_arns }
      }], [for index, widget in local.widgets : {
      type   = "metric"
      x      = 8 * (index % 3)
      y      = 3 + 6 * floor(index / 3)
      width  = 8
      height = 6
      properties = {
        title       = widget.title
        region      = var.region
        view        = "timeSeries"
        stat        = widget.stat
        period      = 300
        metrics     = widget.metrics
        annotations = { horizontal = widget.limits }
      }
    }])
  })
}

resource "aws_cloudwatch_query_definition" "this" {
  for_each = var.saved_queries ? {
    rejected-files = <<-EOT
      fields @timestamp, key, version_id, reason
      | filter message = "rejected"
      | sort @timestamp desc
      | limit 100
    EOT
    slowest-files  = <<-EOT
      fields @timestamp, key, milliseconds, bytes_in, records, rounds
      | filter message = "processed"
      | sort milliseconds desc
      | limit 100
    EOT
  } : {}

  name            = "${var.name}/${each.key}"
  log_group_names = [var.watched.log_group_name]
  query_string    = each.value
}
