# The bucket of all Terraform states. It is created without any configuration before the first run, because this
# module's own state is in it.

import {
  to = aws_s3_bucket.state
  id = local.state_bucket
}

resource "aws_s3_bucket" "state" {
  #checkov:skip=CKV_AWS_18:An access log would need another bucket; the state holds names and no patient data
  #checkov:skip=CKV_AWS_144:Versions protect against loss; the resources that the state describes are in the same region
  #checkov:skip=CKV_AWS_145:The S3 backend with encrypt = true uses AES256, and a key of its own could be lost with the state
  #checkov:skip=CKV2_AWS_62:Nothing reacts to a new state
  bucket = local.state_bucket

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "state" {
  bucket = aws_s3_bucket.state.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket = aws_s3_bucket.state.id

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

    # The last 20 versions of each state stay forever, and all others for a year.
    noncurrent_version_expiration {
      noncurrent_days           = 365
      newer_noncurrent_versions = 20
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  # Rules for noncurrent versions need a versioned bucket.
  depends_on = [aws_s3_bucket_versioning.state]
}

resource "aws_s3_bucket_public_access_block" "state" {
  bucket = aws_s3_bucket.state.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Turns ACLs off: the bucket policy and IAM alone decide who gets in.
resource "aws_s3_bucket_ownership_controls" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "state" {
  bucket = aws_s3_bucket.state.id
  policy = data.aws_iam_policy_document.state.json

  # S3 refuses concurrent changes to the access settings of one bucket.
  depends_on = [aws_s3_bucket_public_access_block.state, aws_s3_bucket_ownership_controls.state]
}

# Denied to everybody, whatever IAM allows.
data "aws_iam_policy_document" "state" {
  dynamic "statement" {
    for_each = {
      DenyInsecureTransport = { test = "Bool", variable = "aws:SecureTransport", value = "false" }
      DenyOtherAccounts     = { test = "StringNotEquals", variable = "aws:PrincipalAccount", value = local.account }
      DenyOutdatedTls       = { test = "NumericLessThan", variable = "s3:TlsVersion", value = "1.2" }
    }

    content {
      sid       = statement.key
      effect    = "Deny"
      actions   = ["s3:*"]
      resources = [local.state_bucket_arn, "${local.state_bucket_arn}/*"]

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = statement.value.test
        variable = statement.value.variable
        values   = [statement.value.value]
      }
    }
  }
}

# Created last: once it is in the state, deploy.sh knows that bootstrap has completed. An output would not do, because
# an import after a killed bootstrap writes outputs as well.
resource "terraform_data" "complete" {
  depends_on = [
    aws_s3_bucket_lifecycle_configuration.state, aws_s3_bucket_policy.state,
    aws_s3_bucket_server_side_encryption_configuration.state, aws_iam_role_policy_attachment.github, aws_iam_policy.people,
  ]
}
