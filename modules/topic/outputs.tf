output "arn" {
  description = "ARN of the topic, available once its policy is attached."
  value       = aws_sns_topic.this.arn

  # S3 checks its permission to publish when a notification is created.
  depends_on = [aws_sns_topic_policy.this]
}
