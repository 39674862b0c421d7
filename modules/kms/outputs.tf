output "arn" {
  description = "ARN of the key."
  value       = aws_kms_key.this.arn
}

output "policy" {
  description = "Key policy as attached, JSON."
  value       = aws_kms_key.this.policy
}

output "deletion_window_days" {
  description = "Days in which the deletion of the key can be taken back, as planned."
  value       = aws_kms_key.this.deletion_window_in_days
}
