output "raw_data_bucket_name" {
  description = "Bucket to upload retina scans to. Null when this state holds several environments: see pipelines."
  value       = try(local.only_pipeline.raw_data_bucket_name, null)
}

output "processed_data_bucket_name" {
  description = "Bucket that receives the trimmed records. Null when this state holds several environments: see pipelines."
  value       = try(local.only_pipeline.processed_data_bucket_name, null)
}

output "lambda_function_name" {
  description = "Function that processes the uploads. Null when this state holds several environments: see pipelines."
  value       = try(local.only_pipeline.lambda_function_name, null)
}

output "log_group_name" {
  description = "CloudWatch log group of the function. Null when this state holds several environments: see pipelines."
  value       = try(local.only_pipeline.log_group_name, null)
}

output "pipelines" {
  description = "Per environment: the names of its buckets, function, log group and dead-letter queue, and whether destroy may delete its data."
  value       = module.pipeline
}
