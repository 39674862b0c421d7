resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Turns ACLs off: the bucket policy and IAM alone decide who gets in.
resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = data.aws_iam_policy_document.bucket.json

  # S3 refuses concurrent changes to the access settings of one bucket.
  depends_on = [aws_s3_bucket_public_access_block.this, aws_s3_bucket_ownership_controls.this]
}

# Denied to everybody, whatever IAM allows.
locals {
  objects    = "${var.arn}/*"
  everything = [var.arn, local.objects]

  denials = concat(local.encryption_denials, [
    {
      sid        = "DenyInsecureTransport", action = "s3:*", resources = local.everything
      conditions = [{ test = "Bool", variable = "aws:SecureTransport", value = "false" }]
    },
    {
      sid        = "DenyOutdatedTls", action = "s3:*", resources = local.everything
      conditions = [{ test = "NumericLessThan", variable = "s3:TlsVersion", value = "1.2" }]
    },
    {
      sid = "DenyOtherAccounts", action = "s3:*", resources = local.everything
      conditions = [
        { test = "StringNotEquals", variable = "aws:PrincipalAccount", value = var.account_id },
        # AWS services, such as the one that delivers access logs, belong to no account. IfExists, because a request
        # without credentials does not carry this key.
        { test = "BoolIfExists", variable = "aws:PrincipalIsAWSService", value = "false" },
      ]
    },
  ])
}

data "aws_iam_policy_document" "bucket" {
  dynamic "statement" {
    for_each = local.denials

    content {
      sid       = statement.value.sid
      effect    = "Deny"
      actions   = [statement.value.action]
      resources = statement.value.resources

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      dynamic "condition" {
        for_each = statement.value.conditions

        content {
          test     = condition.value.test
          variable = condition.value.variable
          values   = [condition.value.value]
        }
      }
    }
  }

  dynamic "statement" {
    for_each = var.access_log_sources

    content {
      sid       = "DeliverLogsOf${title(statement.key)}"
      actions   = ["s3:PutObject"]
      resources = ["${var.arn}/${statement.key}/*"]

      principals {
        type        = "Service"
        identifiers = ["logging.s3.amazonaws.com"]
      }

      condition {
        test     = "ArnEquals"
        variable = "aws:SourceArn"
        values   = [statement.value]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [var.account_id]
      }
    }
  }
}
