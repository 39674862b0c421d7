output "raw_data_bucket_name" {
  description = "Bucket that uploads go to."
  value       = module.bucket["raw"].name
}

output "processed_data_bucket_name" {
  description = "Bucket that receives the trimmed records."
  value       = module.bucket["processed"].name
}

output "lambda_function_name" {
  description = "Function that processes the uploads."
  value       = module.lambda.function_name
}

output "log_group_name" {
  description = "CloudWatch log group of the function."
  value       = module.lambda.log_group_name
}

output "dead_letter_queue_url" {
  description = "Queue that receives the events which could not be processed."
  value       = aws_sqs_queue.dead_letter.url
}

output "force_destroy" {
  description = "Whether destroy may delete the data buckets with what they hold."
  value       = var.data.force_destroy
}
