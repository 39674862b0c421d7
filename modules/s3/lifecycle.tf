resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "abort-stale-multipart-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  rule {
    id     = "expire-noncurrent-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_version_days
    }

    # A delete marker whose versions are all gone serves nobody.
    expiration {
      expired_object_delete_marker = true
    }
  }

  # Rules for noncurrent versions are about a versioned bucket.
  depends_on = [aws_s3_bucket_versioning.this]
}
