output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "alias" {
  description = "Alias that triggers point to, once it hands failed events to the queue."
  value       = aws_lambda_alias.live.name

  # An event that arrives before the failure queue is set would be lost when it fails.
  depends_on = [aws_lambda_function_event_invoke_config.this]
}

output "log_group_name" {
  description = "Name of the function's log group."
  value       = aws_cloudwatch_log_group.this.name
}
