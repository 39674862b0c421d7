output "arn" {
  description = "ARN of the topic, once it may be published to."
  value       = aws_sns_topic.this.arn

  # S3 tests that it may publish when it is told to.
  depends_on = [aws_sns_topic_policy.this]
}

output "policy" {
  description = "Policy of the topic as attached, JSON."
  value       = aws_sns_topic_policy.this.policy
}

output "planned" {
  description = "Key of the topic, and who reads it, as planned."
  value = {
    kms_key = aws_sns_topic.this.kms_master_key_id
    emails  = [for subscription in aws_sns_topic_subscription.email : subscription.endpoint]
  }
}
