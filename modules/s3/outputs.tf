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
