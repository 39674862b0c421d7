output "role_arn" {
  description = "ARN of the execution role, once its permissions are attached."
  value       = aws_iam_role.execution.arn

  # A function that starts before the policy is attached would fail its first events.
  depends_on = [aws_iam_role_policy.execution]
}

output "policy" {
  description = "The role's permissions as attached, JSON."
  value       = aws_iam_role_policy.execution.policy
}

output "network_permissions" {
  description = "Name of the policy by which Lambda attaches the function to a network. Null: there is none."
  value       = one(aws_iam_role_policy.network[*].name)
}

output "planned" {
  description = "What bounds the role, as planned."
  value       = { permissions_boundary = aws_iam_role.execution.permissions_boundary }
}
