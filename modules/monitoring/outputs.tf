output "topic_arn" {
  description = "Topic that alarms are sent to."
  value       = aws_sns_topic.alarms.arn
}

output "topic_policy" {
  description = "Policy of the topic as rendered, JSON."
  value       = data.aws_iam_policy_document.topic.json
}

output "dashboard_name" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
