output "raw_data_bucket_name" {
  description = "Name of the bucket that uploads go to."
  value       = module.bucket["raw"].name
}

output "processed_data_bucket_name" {
  description = "Name of the bucket that receives the trimmed records."
  value       = module.bucket["processed"].name
}

output "rejected_bucket_name" {
  description = "Name of the bucket that receives the verdicts on rejected files."
  value       = module.bucket["rejected"].name
}

output "lambda_function_name" {
  description = "Name of the function that processes the uploads."
  value       = module.lambda.function_name
}

output "function_alias" {
  description = "Name of the function's alias, which uploads invoke. A rollback points it to an earlier version."
  value       = module.lambda.alias
}

output "log_group_name" {
  description = "Name of the function's CloudWatch log group."
  value       = module.lambda.log_group_name
}

output "ingestion_queue_url" {
  description = "URL of the queue that receives the uploads' events in queue mode, and redriven events in both modes."
  value       = module.queue.ingestion_url
}

output "dead_letter_queue_url" {
  description = "URL of the queue that keeps the events that could not be processed."
  value       = module.queue.dead_letter_url
}

output "force_destroy" {
  description = "Whether terraform destroy may delete buckets that hold objects."
  value       = local.force_destroy
}

output "stale_results" {
  description = "What happens to the result of an older version when the newest one is rejected or deleted: keep or remove."
  value       = var.settings.stale_results
}

output "alarm_topic_arn" {
  description = "ARN of the topic that alarms are sent to."
  value       = module.monitoring.topic_arn
}

output "rejection_topic_arn" {
  description = "ARN of the topic that announces each rejected file."
  value       = module.rejections.arn
}

output "dashboard_name" {
  description = "Name of the environment's CloudWatch dashboard."
  value       = module.monitoring.dashboard_name
}
