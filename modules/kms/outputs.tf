output "arn" {
  description = "ARN of the key."
  value       = aws_kms_key.this.arn
}

output "policy" {
  description = "Key policy as rendered, JSON."
  value       = data.aws_iam_policy_document.key.json
}

output "deletion_window_days" {
  description = "Days in which the deletion of the key can be taken back, as planned."
  value       = aws_kms_key.this.deletion_window_in_days
}
