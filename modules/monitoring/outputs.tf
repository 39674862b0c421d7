output "topic_arn" {
  description = "ARN of the topic that alarms are sent to."
  value       = module.alarms.arn
}

output "dashboard_name" {
  description = "Name of the CloudWatch dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
