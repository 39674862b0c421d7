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

output "planned" {
  description = "What the function and its log are connected to, as planned."
  value = {
    kms_keys              = { variables = aws_lambda_function.this.kms_key_arn, log = aws_cloudwatch_log_group.this.kms_key_id }
    failure_queue         = aws_lambda_function_event_invoke_config.this.destination_config[0].on_failure[0].destination
    environment_variables = aws_lambda_function.this.environment[0].variables
    subnets               = flatten(aws_lambda_function.this.vpc_config[*].subnet_ids)
    security_groups       = flatten(aws_lambda_function.this.vpc_config[*].security_group_ids)
  }
}
