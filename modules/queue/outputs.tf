output "ingestion_arn" {
  description = "ARN of the ingestion queue."
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
