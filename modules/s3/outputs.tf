output "name" {
  description = "Name of the bucket, once it is ready for use."
  value       = aws_s3_bucket.this.bucket

  # Whoever waits for the name gets a bucket that is versioned and closed.
  depends_on = [aws_s3_bucket_versioning.this, aws_s3_bucket_policy.this]
}

output "policy" {
  description = "Bucket policy as attached, JSON."
  value       = aws_s3_bucket_policy.this.policy
}

output "protection" {
  description = "What encrypts and keeps the objects and tells of requests, as planned."
  value = {
    encryption      = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0]
    access_log      = one(aws_s3_bucket_logging.this[*].target_bucket)
    access_log_key  = one(aws_s3_bucket_logging.this[*].target_prefix)
    object_lock     = one([for lock in aws_s3_bucket_object_lock_configuration.this : lock.rule[0].default_retention[0]])
    noncurrent_days = one(flatten(aws_s3_bucket_lifecycle_configuration.this.rule[*].noncurrent_version_expiration[*].noncurrent_days))
    archive_days    = one(flatten([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.transition[*].days]))
    expire_days     = one([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.expiration[0].days if rule.id == "expire"])
    force_destroy   = aws_s3_bucket.this.force_destroy
  }
}
