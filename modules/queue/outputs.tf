output "ingestion_arn" {
  description = "ARN of the ingestion queue, once it takes notifications."
  value       = aws_sqs_queue.ingestion.arn
}

output "ingestion_url" {
  description = "URL of the ingestion queue."
  value       = aws_sqs_queue.ingestion.url
}

output "dead_letter_arn" {
  description = "ARN of the dead-letter queue."
  value       = aws_sqs_queue.dead_letter.arn
}

output "dead_letter_url" {
  description = "URL of the dead-letter queue."
  value       = aws_sqs_queue.dead_letter.url
}

output "policies" {
  description = "Policies of both queues as attached, JSON."
  value = {
    ingestion   = aws_sqs_queue.ingestion.policy
    dead_letter = aws_sqs_queue.dead_letter.policy
  }
}

output "planned" {
  description = "Keys of both queues, and how long a received message stays hidden, as planned."
  value = {
    kms_keys                   = { ingestion = aws_sqs_queue.ingestion.kms_master_key_id, dead_letter = aws_sqs_queue.dead_letter.kms_master_key_id }
    visibility_timeout_seconds = aws_sqs_queue.ingestion.visibility_timeout_seconds
  }
}
