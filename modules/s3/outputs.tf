output "name" {
  description = "Name of the bucket, available once the bucket is versioned and its policy attached."
  value       = aws_s3_bucket.this.bucket

  depends_on = [aws_s3_bucket_versioning.this, aws_s3_bucket_policy.this]
}
