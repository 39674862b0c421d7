output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "alias" {
  description = "Name of the alias that triggers invoke, available once its failed events go to the queue."
  value       = aws_lambda_alias.live.name

  # An event that fails before the failure queue is configured would be lost.
  depends_on = [aws_lambda_function_event_invoke_config.this]
}

output "log_group_name" {
  description = "Name of the function's CloudWatch log group."
  value       = aws_cloudwatch_log_group.this.name
}
