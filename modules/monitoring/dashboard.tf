locals {
  lambda    = ["FunctionName", var.watched.function_name]
  files     = ["service", var.watched.function_name]
  uploads   = ["BucketName", var.watched.raw_bucket, "FilterId", local.request_filter]
  waiting   = ["QueueName", var.watched.ingestion_queue]
  namespace = var.watched.metrics_namespace
  reasons   = "SEARCH('{${local.namespace},reason,service} MetricName=\"FilesRejected\" service=\"${var.watched.function_name}\"', 'Sum', 300)"

  # Rows of three: outcomes, speed, backlog and errors, and cost.
  widgets = [
    { title = "Files by outcome", stat = "Sum", limits = [], metrics = [
      concat([local.namespace, "FilesProcessed"], local.files, [{ label = "processed" }]),
      concat([local.namespace, "FilesRejected"], local.files, [{ label = "rejected" }]),
      concat([local.namespace, "FilesFailed"], local.files, [{ label = "failed" }]),
      concat([local.namespace, "FilesGone"], local.files, [{ label = "gone before processing" }]),
      concat(["AWS/S3", "PutRequests"], local.uploads, [{ label = "PUT requests, one per file or part", yAxis = "right" }]),
    ] },
    { title = "Records processed", stat = "Sum", limits = [], metrics = [
      concat([local.namespace, "RecordsProcessed"], local.files, [{ label = "records" }]),
    ] },
    { title = "Rejected files by reason", stat = "Sum", limits = [], metrics = [[{ expression = local.reasons, label = "" }]] },

    { title = "Processing time per file (ms)", stat = "Average", limits = [], metrics = [
      concat([local.namespace, "ProcessingTime"], local.files, [{ stat = "p50", label = "p50" }]),
      concat([local.namespace, "ProcessingTime"], local.files, [{ stat = "p99", label = "p99" }]),
      concat([local.namespace, "ProcessingTime"], local.files, [{ stat = "Maximum", label = "maximum" }]),
    ] },
    { title = "Duration per invocation (ms)", stat = "Average", limits = [{ label = "timeout", value = 1000 * var.watched.timeout_seconds }], metrics = [
      concat(["AWS/Lambda", "Duration"], local.lambda, [{ stat = "p50", label = "p50" }]),
      concat(["AWS/Lambda", "Duration"], local.lambda, [{ stat = "Maximum", label = "maximum" }]),
    ] },
    { title = "Concurrent executions", stat = "Maximum", limits = [for most in var.watched.most_at_once[*] : { label = "limit", value = most }], metrics = [
      concat(["AWS/Lambda", "ConcurrentExecutions"], local.lambda, [{ label = "concurrent executions" }]),
    ] },

    { title = "Ingestion queue", stat = "Maximum", limits = [{ label = "alarm threshold", value = var.watched.oldest_message_seconds, yAxis = "right" }], metrics = [
      concat(["AWS/SQS", "ApproximateNumberOfMessagesVisible"], local.waiting, [{ label = "messages waiting" }]),
      concat(["AWS/SQS", "ApproximateNumberOfMessagesNotVisible"], local.waiting, [{ label = "messages in flight" }]),
      concat(["AWS/SQS", "ApproximateAgeOfOldestMessage"], local.waiting, [{ label = "age of oldest message (s)", yAxis = "right" }]),
    ] },
    { title = "Errors and throttles", stat = "Sum", limits = [], metrics = [
      concat(["AWS/Lambda", "Errors"], local.lambda, [{ label = "errors" }]),
      concat(["AWS/Lambda", "Throttles"], local.lambda, [{ label = "throttles" }]),
      concat(["AWS/Lambda", "DestinationDeliveryFailures"], local.lambda, [{ label = "destination delivery failures" }]),
    ] },
    { title = "Dead-letter queue", stat = "Maximum", limits = [], metrics = [
      ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.watched.dead_letter_queue, { label = "messages waiting" }],
    ] },

    { title = "Cost: invocations and duration", stat = "Sum", limits = [], metrics = [
      concat(["AWS/Lambda", "Invocations"], local.lambda, [{ label = "invocations" }]),
      concat(["AWS/Lambda", "Duration"], local.lambda, [{ label = "total duration (ms)", yAxis = "right" }]),
    ] },
    { title = "Cost: S3 and SQS requests", stat = "Sum", limits = [], metrics = [
      concat(["AWS/S3", "AllRequests"], local.uploads, [{ label = "requests to the raw bucket" }]),
      concat(["AWS/SQS", "NumberOfMessagesReceived"], local.waiting, [{ label = "messages received" }]),
      concat(["AWS/SQS", "NumberOfEmptyReceives"], local.waiting, [{ label = "empty receives" }]),
    ] },
    { title = "Cost: bytes read", stat = "Sum", limits = [], metrics = [
      concat([local.namespace, "BytesRead"], local.files, [{ label = "bytes read" }]),
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
