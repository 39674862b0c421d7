# What the alarms watch and whom they notify, and what the dashboard shows.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

override_resource {
  target          = module.alarms.aws_sns_topic.this
  override_during = plan
  values          = { arn = "arn:aws:sns:us-east-1:111122223333:eyes-alarms" }
}

variables {
  name            = "eyes"
  environment     = "prod"
  account_id      = "111122223333"
  region          = "us-east-1"
  topic_arn       = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
  alarm_arns      = ["arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-function-errors"]
  kms_key_arn     = "arn:aws:kms:us-east-1:111122223333:key/k"
  alarm_emails    = ["oncall@example.org"]
  saved_queries   = true
  request_metrics = true
  watched = {
    function_name          = "eyes-data-processor", timeout_seconds = 60, log_group_name = "/aws/lambda/eyes-data-processor"
    metrics_namespace      = "Eyes", raw_bucket = "eyes-raw", ingestion_queue = "eyes-ingestion", dead_letter_queue = "eyes-dead-letter"
    oldest_message_seconds = 180, redelivery_seconds = 365, most_at_once = 7
  }
}

run "alarms" {
  command = plan

  assert {
    condition = jsonencode({ for name, alarm in aws_cloudwatch_metric_alarm.this : name => [
      "${alarm.namespace} ${alarm.metric_name} ${alarm.statistic}", alarm.dimensions,
      "${alarm.comparison_operator} ${alarm.threshold}, ${alarm.evaluation_periods} x ${alarm.period} s, missing: ${alarm.treat_missing_data}",
      ] }) == jsonencode({
      dead-letter-queue  = ["AWS/SQS ApproximateNumberOfMessagesVisible Maximum", { QueueName = "eyes-dead-letter" }, "GreaterThanThreshold 0, 1 x 300 s, missing: ignore"]
      failed-files       = ["Eyes FilesFailed Sum", { service = "eyes-data-processor" }, "GreaterThanThreshold 0, 1 x 720 s, missing: notBreaching"]
      function-duration  = ["AWS/Lambda Duration Maximum", { FunctionName = "eyes-data-processor" }, "GreaterThanThreshold 48000, 1 x 300 s, missing: notBreaching"]
      function-errors    = ["AWS/Lambda Errors Sum", { FunctionName = "eyes-data-processor" }, "GreaterThanThreshold 0, 1 x 300 s, missing: notBreaching"]
      function-throttles = ["AWS/Lambda Throttles Sum", { FunctionName = "eyes-data-processor" }, "GreaterThanThreshold 0, 1 x 300 s, missing: notBreaching"]
      lost-events        = ["AWS/Lambda DestinationDeliveryFailures Sum", { FunctionName = "eyes-data-processor" }, "GreaterThanThreshold 0, 1 x 300 s, missing: notBreaching"]
      oldest-message     = ["AWS/SQS ApproximateAgeOfOldestMessage Maximum", { QueueName = "eyes-ingestion" }, "GreaterThanThreshold 180, 1 x 300 s, missing: notBreaching"]
      rejected-files     = ["Eyes FilesRejected Sum", { service = "eyes-data-processor" }, "GreaterThanThreshold 0, 1 x 300 s, missing: notBreaching"]
    })
    error_message = "An alarm watches something else: ${jsonencode(aws_cloudwatch_metric_alarm.this)}"
  }
  assert {
    condition     = toset(distinct(flatten([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.nothing_processed) : regexall("[.]/deploy[.]sh [^\\n]+", alarm.alarm_description)]))) == toset(["./deploy.sh audit prod", "./deploy.sh drift prod", "./deploy.sh failures prod", "./deploy.sh logs prod --once --since 1h", "./deploy.sh status prod"])
    error_message = "An alarm names a command that acts on another environment, or alarms no longer name all of them: ${jsonencode(distinct(flatten([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.nothing_processed) : regexall("[.]/deploy[.]sh [^\\n]+", alarm.alarm_description)])))}"
  }
  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.nothing_processed) : length(alarm.alarm_description) > 100 && length(alarm.alarm_description) <= 1024])
    error_message = "An alarm's description does not say what to look at and what to do, or exceeds the 1024 characters that AWS allows."
  }
  assert {
    condition = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.nothing_processed) :
      can(regex("\\nImpact: [^\\n]+\\n(?:[^\\n]+\\n)?Start with: [.]/deploy[.]sh \\w+ prod[^\\n]*\\nRunbook: docs/operations.md#${trimprefix(alarm.alarm_name, "eyes-")}\\n?$", alarm.alarm_description))
    ])
    error_message = "An alarm does not say its impact, the first command or its own section of the runbook."
  }
  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.nothing_processed) : alarm.alarm_actions == toset(["arn:aws:sns:us-east-1:111122223333:eyes-alarms"]) && alarm.ok_actions == toset(["arn:aws:sns:us-east-1:111122223333:eyes-alarms"])])
    error_message = "An alarm does not notify the topic, or does not when it ends."
  }
  assert {
    condition = jsonencode({ for query in aws_cloudwatch_metric_alarm.nothing_processed[0].metric_query : query.id => query.return_data == true ? query.expression : "${query.metric[0].namespace} ${query.metric[0].metric_name} ${query.metric[0].stat} ${query.metric[0].period} ${jsonencode(query.metric[0].dimensions)}" }) == jsonencode({
      failed    = "Eyes FilesFailed Sum 300 {\"service\":\"eyes-data-processor\"}"
      gone      = "Eyes FilesGone Sum 300 {\"service\":\"eyes-data-processor\"}"
      processed = "Eyes FilesProcessed Sum 300 {\"service\":\"eyes-data-processor\"}"
      rejected  = "Eyes FilesRejected Sum 300 {\"service\":\"eyes-data-processor\"}"
      stuck     = "FILL(IF(FILL(processed, 0) + FILL(rejected, 0) + FILL(failed, 0) + FILL(gone, 0) > 0, 0, IF(uploads > 0, 1)), REPEAT)"
      uploads   = "AWS/S3 PutRequests Sum 300 {\"BucketName\":\"eyes-raw\",\"FilterId\":\"EntireBucket\"}"
    })
    error_message = "The alarm for uploads that are not processed watches something else: ${jsonencode(aws_cloudwatch_metric_alarm.nothing_processed[0].metric_query)}"
  }
  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.nothing_processed :
      alarm.comparison_operator == "GreaterThanThreshold" && alarm.threshold == 0 && alarm.evaluation_periods == 3 && alarm.datapoints_to_alarm == null && alarm.treat_missing_data == "ignore"
    ])
    error_message = "The alarm must go off when nothing is processed for 15 minutes, and missing data must not end it."
  }
  assert {
    condition     = aws_s3_bucket_metric.uploads[0].bucket == "eyes-raw" && aws_s3_bucket_metric.uploads[0].name == "EntireBucket" && length(aws_s3_bucket_metric.uploads[0].filter) == 0
    error_message = "Requests to another bucket are counted, or not all requests."
  }
}

run "dashboard" {
  command = plan

  assert {
    condition = jsonencode([for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets :
      { title = widget.properties.title, metrics = [for metric in try(widget.properties.metrics, []) : join(" ", [for part in metric : part if try(tostring(part), null) != null])] }
      ]) == jsonencode([
      { title = "Alarms", metrics = [] },
      { title = "Files by outcome", metrics = [
        "Eyes FilesProcessed service eyes-data-processor", "Eyes FilesRejected service eyes-data-processor",
        "Eyes FilesFailed service eyes-data-processor", "Eyes FilesGone service eyes-data-processor",
        "AWS/S3 PutRequests BucketName eyes-raw FilterId EntireBucket",
      ] },
      { title = "Records processed", metrics = ["Eyes RecordsProcessed service eyes-data-processor"] },
      { title = "Rejected files by reason", metrics = [""] },
      { title = "Processing time per file (ms)", metrics = [for statistic in ["p50", "p99", "Maximum"] : "Eyes ProcessingTime service eyes-data-processor"] },
      { title = "Duration per invocation (ms)", metrics = [for statistic in ["p50", "Maximum"] : "AWS/Lambda Duration FunctionName eyes-data-processor"] },
      { title = "Concurrent executions", metrics = ["AWS/Lambda ConcurrentExecutions FunctionName eyes-data-processor"] },
      { title = "Ingestion queue", metrics = [
        "AWS/SQS ApproximateNumberOfMessagesVisible QueueName eyes-ingestion", "AWS/SQS ApproximateNumberOfMessagesNotVisible QueueName eyes-ingestion",
        "AWS/SQS ApproximateAgeOfOldestMessage QueueName eyes-ingestion",
      ] },
      { title = "Errors and throttles", metrics = [
        "AWS/Lambda Errors FunctionName eyes-data-processor", "AWS/Lambda Throttles FunctionName eyes-data-processor",
        "AWS/Lambda DestinationDeliveryFailures FunctionName eyes-data-processor",
      ] },
      { title = "Dead-letter queue", metrics = ["AWS/SQS ApproximateNumberOfMessagesVisible QueueName eyes-dead-letter"] },
      { title = "Cost: invocations and duration", metrics = ["AWS/Lambda Invocations FunctionName eyes-data-processor", "AWS/Lambda Duration FunctionName eyes-data-processor"] },
      { title = "Cost: S3 and SQS requests", metrics = [
        "AWS/S3 AllRequests BucketName eyes-raw FilterId EntireBucket", "AWS/SQS NumberOfMessagesReceived QueueName eyes-ingestion",
        "AWS/SQS NumberOfEmptyReceives QueueName eyes-ingestion",
      ] },
      { title = "Cost: bytes read", metrics = ["Eyes BytesRead service eyes-data-processor"] },
    ])
    error_message = "The dashboard shows something else: ${aws_cloudwatch_dashboard.this.dashboard_body}"
  }
  assert {
    condition = jsonencode({ for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : widget.properties.title => [for limit in try(widget.properties.annotations.horizontal, []) : "${limit.value} ${limit.label}"] if length(try(widget.properties.annotations.horizontal, [])) > 0 }) == jsonencode({
      "Concurrent executions"        = ["7 limit"]
      "Duration per invocation (ms)" = ["60000 timeout"]
      "Ingestion queue"              = ["180 alarm threshold"]
    })
    error_message = "The dashboard shows other limits: ${aws_cloudwatch_dashboard.this.dashboard_body}"
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets[0].properties.alarms == ["arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-function-errors"]
    error_message = "The dashboard does not show the alarms."
  }
  assert {
    condition     = strcontains(aws_cloudwatch_dashboard.this.dashboard_body, "SEARCH('{Eyes,reason,service} MetricName=\\\"FilesRejected\\\" service=\\\"eyes-data-processor\\\"', 'Sum', 300)")
    error_message = "The dashboard does not show the reasons for rejections: ${aws_cloudwatch_dashboard.this.dashboard_body}"
  }
  assert {
    condition = jsonencode({ for name, query in aws_cloudwatch_query_definition.this : name => [query.name, query.log_group_names, [for line in split("\n", trimspace(query.query_string)) : trimspace(line)]] }) == jsonencode({
      rejected-files = ["eyes/rejected-files", ["/aws/lambda/eyes-data-processor"], ["fields @timestamp, key, version_id, reason", "| filter message = \"rejected\"", "| sort @timestamp desc", "| limit 100"]]
      slowest-files  = ["eyes/slowest-files", ["/aws/lambda/eyes-data-processor"], ["fields @timestamp, key, milliseconds, bytes_in, records, rounds", "| filter message = \"processed\"", "| sort milliseconds desc", "| limit 100"]]
    })
    error_message = "A saved query looks for something else: ${jsonencode(aws_cloudwatch_query_definition.this)}"
  }
}

run "shortest_time_limit" {
  command = plan

  variables {
    watched = {
      function_name          = "eyes-data-processor", timeout_seconds = 20, log_group_name = "/aws/lambda/eyes-data-processor"
      metrics_namespace      = "Eyes", raw_bucket = "eyes-raw", ingestion_queue = "eyes-ingestion", dead_letter_queue = "eyes-dead-letter"
      oldest_message_seconds = 60, redelivery_seconds = 120, most_at_once = null
    }
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["function-duration"].threshold == 8000
    error_message = "The function stops after 10 of its 20 seconds, so the alarm must go off earlier."
  }
}
