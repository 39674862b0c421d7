output "role_arn" {
  description = "ARN of the execution role, available once its permissions are attached."
  value       = aws_iam_role.execution.arn

  # A function that is invoked before the policy is attached would fail its first events.
  depends_on = [aws_iam_role_policy.execution]
}

output "network_permissions" {
  description = "Name of the policy that lets Lambda attach the function to a network. Null: no network."
  value       = one(aws_iam_role_policy.network[*].name)
}
