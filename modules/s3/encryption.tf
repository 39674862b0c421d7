resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    # One call to KMS for many objects: without it, every GET and PUT pays for one.
    bucket_key_enabled = var.kms_key != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key == null ? "AES256" : "aws:kms"
      kms_master_key_id = one(var.kms_key[*].arn)
    }
  }
}

# A request may leave encryption to the bucket or ask for the bucket's key. One that asks for anything else is refused.
# The Null guards matter: without them the denials would refuse every plain PUT as well.
locals {
  encryption_denials = [for denial in [
    {
      sid = "DenyOtherEncryption", action = "s3:PutObject", resources = [local.objects]
      conditions = [
        { test = "Null", variable = "s3:x-amz-server-side-encryption", value = "false" },
        { test = "StringNotEquals", variable = "s3:x-amz-server-side-encryption", value = "aws:kms" },
      ]
    },
    {
      sid = "DenyOtherKey", action = "s3:PutObject", resources = [local.objects]
      conditions = [
        { test = "Null", variable = "s3:x-amz-server-side-encryption-aws-kms-key-id", value = "false" },
        { test = "StringNotEquals", variable = "s3:x-amz-server-side-encryption-aws-kms-key-id", value = one(var.kms_key[*].arn) },
      ]
    },
    {
      # S3 takes the account's own key aws/s3 for KMS without a key, not the bucket's.
      sid = "DenyUnnamedKey", action = "s3:PutObject", resources = [local.objects]
      conditions = [
        { test = "Null", variable = "s3:x-amz-server-side-encryption", value = "false" },
        { test = "Null", variable = "s3:x-amz-server-side-encryption-aws-kms-key-id", value = "true" },
      ]
    },
    {
      # A key that the caller brings would lock everybody else out.
      sid = "DenyCallersKey", action = "s3:PutObject", resources = [local.objects]
      conditions = [
        { test = "Null", variable = "s3:x-amz-server-side-encryption-customer-algorithm", value = "false" },
      ]
    },
  ] : denial if var.kms_key != null]
}
