output "raw_data_bucket_name" {
  description = "Name of the bucket that retina scans are uploaded to. Null if this state holds several environments: see pipelines."
  value       = try(local.only_pipeline.raw_data_bucket_name, null)
}

output "processed_data_bucket_name" {
  description = "Name of the bucket that receives the trimmed records. Null if this state holds several environments: see pipelines."
  value       = try(local.only_pipeline.processed_data_bucket_name, null)
}

output "lambda_function_name" {
  description = "Name of the function that processes the uploads. Null if this state holds several environments: see pipelines."
  value       = try(local.only_pipeline.lambda_function_name, null)
}

output "log_group_name" {
  description = "Name of the function's CloudWatch log group. Null if this state holds several environments: see pipelines."
  value       = try(local.only_pipeline.log_group_name, null)
}

output "pipelines" {
  description = "Outputs of modules/pipeline for each environment, by its name."
  value       = module.pipeline
}
