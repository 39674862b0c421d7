resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    # One KMS call for many objects: without a bucket key, every GET and PUT pays for one.
    bucket_key_enabled = var.kms_key != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key == null ? "AES256" : "aws:kms"
      kms_master_key_id = one(var.kms_key[*].arn)
    }
  }
}

# A request may leave encryption to the bucket or name the bucket's key. Any other encryption is refused.
# The Null conditions matter: without them the denials would refuse every plain PUT as well.
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
      # For aws:kms without a key ID, S3 uses the account's key aws/s3, not the bucket's.
      sid = "DenyUnnamedKey", action = "s3:PutObject", resources = [local.objects]
      conditions = [
        { test = "Null", variable = "s3:x-amz-server-side-encryption", value = "false" },
        { test = "Null", variable = "s3:x-amz-server-side-encryption-aws-kms-key-id", value = "true" },
      ]
    },
    {
      # A key that only the caller has would lock everybody else out.
      sid = "DenyCallersKey", action = "s3:PutObject", resources = [local.objects]
      conditions = [
        { test = "Null", variable = "s3:x-amz-server-side-encryption-customer-algorithm", value = "false" },
      ]
    },
  ] : denial if var.kms_key != null]
}
