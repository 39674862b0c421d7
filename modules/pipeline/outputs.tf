output "raw_data_bucket_name" {
  description = "Bucket that uploads go to."
  value       = module.bucket["raw"].name
}

output "processed_data_bucket_name" {
  description = "Bucket that receives the trimmed records."
  value       = module.bucket["processed"].name
}

output "rejected_bucket_name" {
  description = "Bucket that receives the verdicts on rejected files."
  value       = module.bucket["rejected"].name
}

output "lambda_function_name" {
  description = "Function that processes the uploads."
  value       = module.lambda.function_name
}

output "function_alias" {
  description = "Alias of the function that uploads start. A rollback points it to an earlier version."
  value       = module.lambda.alias
}

output "log_group_name" {
  description = "CloudWatch log group of the function."
  value       = module.lambda.log_group_name
}

output "ingestion_queue_url" {
  description = "Queue that uploads arrive in, in queue mode; in both modes it takes events that are sent again."
  value       = module.queue.ingestion_url
}

output "dead_letter_queue_url" {
  description = "Queue that receives the events which could not be processed."
  value       = module.queue.dead_letter_url
}

output "force_destroy" {
  description = "Whether destroy may delete the data buckets with what they hold."
  value       = var.data.force_destroy
}

output "stale_results" {
  description = "Whether the result of an older version is kept or removed when the newest one is rejected or deleted."
  value       = var.data.stale_results
}

output "alarm_topic_arn" {
  description = "Topic that alarms are sent to."
  value       = module.monitoring.topic_arn
}

output "rejection_topic_arn" {
  description = "Topic that tells of each verdict on a rejected file."
  value       = module.rejections.arn
}

output "dashboard_name" {
  description = "CloudWatch dashboard of the environment."
  value       = module.monitoring.dashboard_name
}
