output "name" {
  description = "Name of the bucket, once it is ready for use."
  value       = aws_s3_bucket.this.bucket

  # Whoever waits for the name gets a bucket that is versioned and closed.
  depends_on = [aws_s3_bucket_versioning.this, aws_s3_bucket_policy.this]
}

output "policy" {
  description = "Bucket policy as rendered, JSON."
  value       = data.aws_iam_policy_document.bucket.json
}

output "protection" {
  description = "What keeps the objects and tells of requests, as planned."
  value = {
    access_log       = one(aws_s3_bucket_logging.this[*].target_bucket)
    access_log_key   = one(aws_s3_bucket_logging.this[*].target_prefix)
    object_lock_days = one(aws_s3_bucket_object_lock_configuration.this[*].rule[0].default_retention[0].days)
    noncurrent_days  = one([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.noncurrent_version_expiration[0].noncurrent_days if length(rule.noncurrent_version_expiration) > 0])
    force_destroy    = aws_s3_bucket.this.force_destroy
  }
}
