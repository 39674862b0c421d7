locals {
  reasons = "SEARCH('{${var.watched.metrics_namespace},reason,service} MetricName=\"FilesRejected\" service=\"${var.watched.function_name}\"', 'Sum', 300)"

  # Rows of three: what came in and out, how fast, and what is wrong or costs money.
  widgets = [
    { title = "Files in and out", stat = "Sum", metrics = [
      ["AWS/S3", "PutRequests", "BucketName", var.watched.raw_bucket, "FilterId", local.request_filter, { label = "uploaded" }],
      [var.watched.metrics_namespace, "FilesProcessed", "service", var.watched.function_name, { label = "processed" }],
      [var.watched.metrics_namespace, "FilesRejected", "service", var.watched.function_name, { label = "rejected" }],
      [var.watched.metrics_namespace, "FilesGone", "service", var.watched.function_name, { label = "gone" }],
    ] },
    { title = "Records out", stat = "Sum", metrics = [
      [var.watched.metrics_namespace, "RecordsProcessed", "service", var.watched.function_name, { label = "records" }],
    ] },
    { title = "Rejected files by reason", stat = "Sum", metrics = [[{ expression = local.reasons, label = "" }]] },
    { title = "Duration in milliseconds", stat = "Average", metrics = [
      ["AWS/Lambda", "Duration", "FunctionName", var.watched.function_name, { stat = "p50", label = "half of them" }],
      ["AWS/Lambda", "Duration", "FunctionName", var.watched.function_name, { stat = "p99", label = "99 of 100" }],
      ["AWS/Lambda", "Duration", "FunctionName", var.watched.function_name, { stat = "Maximum", label = "longest" }],
    ] },
    { title = "Invocations at once", stat = "Maximum", metrics = [
      ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", var.watched.function_name, { label = "at once" }],
    ] },
    { title = "Waiting messages and the oldest one's age", stat = "Maximum", metrics = [
      ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.watched.ingestion_queue, { label = "waiting" }],
      ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", var.watched.ingestion_queue, { label = "in work" }],
      ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", var.watched.ingestion_queue, { label = "oldest, seconds", yAxis = "right" }],
    ] },
    { title = "Errors and throttles", stat = "Sum", metrics = [
      ["AWS/Lambda", "Errors", "FunctionName", var.watched.function_name, { label = "errors" }],
      ["AWS/Lambda", "Throttles", "FunctionName", var.watched.function_name, { label = "throttles" }],
    ] },
    { title = "Failed events in the dead-letter queue", stat = "Maximum", metrics = [
      ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.watched.dead_letter_queue, { label = "failed" }],
    ] },
    { title = "What costs money: invocations, bytes read, seconds of work", stat = "Sum", metrics = [
      ["AWS/Lambda", "Invocations", "FunctionName", var.watched.function_name, { label = "invocations" }],
      [var.watched.metrics_namespace, "BytesRead", "service", var.watched.function_name, { label = "bytes read", yAxis = "right" }],
      ["AWS/Lambda", "Duration", "FunctionName", var.watched.function_name, { label = "milliseconds", yAxis = "right" }],
    ] },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [for index, widget in local.widgets : {
      type   = "metric"
      x      = 8 * (index % 3)
      y      = 6 * floor(index / 3)
      width  = 8
      height = 6
      properties = {
        title   = widget.title
        region  = var.region
        view    = "timeSeries"
        stat    = widget.stat
        period  = 300
        metrics = widget.metrics
      }
    }]
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
      fields @timestamp, key, milliseconds, bytes_in, records, attempts
      | filter message = "processed"
      | sort milliseconds desc
      | limit 100
    EOT
  } : {}

  name            = "${var.name}/${each.key}"
  log_group_names = [var.watched.log_group_name]
  query_string    = each.value
}
