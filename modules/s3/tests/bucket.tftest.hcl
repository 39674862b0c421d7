# What a bucket refuses, and how it keeps what it holds.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variables {
  account_id = "111122223333"
}

run "bucket" {
  command = plan

  variables {
    name             = "eyes-raw"
    arn              = "arn:aws:s3:::eyes-raw"
    kms_key          = { arn = "arn:aws:kms:us-east-1:111122223333:key/k" }
    access_log       = { bucket = "eyes-log", prefix = "raw/" }
    lifecycle_days   = { noncurrent = 30, archive = 60 }
    object_lock_days = 365
    force_destroy    = false
  }

  assert {
    condition = jsonencode(jsondecode(aws_s3_bucket_policy.this.policy).Statement) == jsonencode([
      {
        Sid      = "DenyOtherEncryption", Effect = "Deny", Principal = "*", Action = "s3:PutObject"
        Resource = "arn:aws:s3:::eyes-raw/*"
        Condition = {
          Null            = { "s3:x-amz-server-side-encryption" = "false" }
          StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }
        }
      },
      {
        Sid      = "DenyOtherKey", Effect = "Deny", Principal = "*", Action = "s3:PutObject"
        Resource = "arn:aws:s3:::eyes-raw/*"
        Condition = {
          Null            = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "false" }
          StringNotEquals = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "arn:aws:kms:us-east-1:111122223333:key/k" }
        }
      },
      {
        Sid      = "DenyUnnamedKey", Effect = "Deny", Principal = "*", Action = "s3:PutObject"
        Resource = "arn:aws:s3:::eyes-raw/*"
        Condition = { Null = {
          "s3:x-amz-server-side-encryption"                = "false"
          "s3:x-amz-server-side-encryption-aws-kms-key-id" = "true"
        } }
      },
      {
        Sid       = "DenyCallersKey", Effect = "Deny", Principal = "*", Action = "s3:PutObject"
        Resource  = "arn:aws:s3:::eyes-raw/*"
        Condition = { Null = { "s3:x-amz-server-side-encryption-customer-algorithm" = "false" } }
      },
      {
        Sid       = "DenyInsecureTransport", Effect = "Deny", Principal = "*", Action = "s3:*"
        Resource  = ["arn:aws:s3:::eyes-raw/*", "arn:aws:s3:::eyes-raw"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "DenyOutdatedTls", Effect = "Deny", Principal = "*", Action = "s3:*"
        Resource  = ["arn:aws:s3:::eyes-raw/*", "arn:aws:s3:::eyes-raw"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
      {
        Sid      = "DenyOtherAccounts", Effect = "Deny", Principal = "*", Action = "s3:*"
        Resource = ["arn:aws:s3:::eyes-raw/*", "arn:aws:s3:::eyes-raw"]
        Condition = {
          BoolIfExists    = { "aws:PrincipalIsAWSService" = "false" }
          StringNotEquals = { "aws:PrincipalAccount" = "111122223333" }
        }
      },
    ])
    error_message = "The bucket policy changed: ${aws_s3_bucket_policy.this.policy}"
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "Versioning is off."
  }
  assert {
    condition = (
      aws_s3_bucket_public_access_block.this.block_public_acls && aws_s3_bucket_public_access_block.this.block_public_policy &&
      aws_s3_bucket_public_access_block.this.ignore_public_acls && aws_s3_bucket_public_access_block.this.restrict_public_buckets
    )
    error_message = "Public access is not blocked in all four ways."
  }
  assert {
    condition     = aws_s3_bucket_ownership_controls.this.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "ACLs are on."
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0] == { sse_algorithm = "aws:kms", kms_master_key_id = "arn:aws:kms:us-east-1:111122223333:key/k" } && one(aws_s3_bucket_server_side_encryption_configuration.this.rule).bucket_key_enabled
    error_message = "Objects must be encrypted with the environment's key through a bucket key."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.abort_incomplete_multipart_upload[0].days_after_initiation if length(rule.abort_incomplete_multipart_upload) > 0] == [1]
    error_message = "Stale multipart uploads are not aborted after a day."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.noncurrent_version_expiration[0].noncurrent_days if length(rule.noncurrent_version_expiration) > 0] == [30]
    error_message = "Old versions do not expire after 30 days."
  }
  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.status == "Enabled"])
    error_message = "A lifecycle rule is off."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.expiration[0].expired_object_delete_marker if rule.id == "expire-noncurrent-versions"] == [true]
    error_message = "Delete markers without versions are not removed."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : [for step in rule.transition : "${step.days} ${step.storage_class}"] if length(rule.transition) > 0] == [["60 GLACIER_IR"]]
    error_message = "Objects do not move to cheaper storage after 60 days."
  }
  assert {
    condition     = aws_s3_bucket_logging.this[0].target_bucket == "eyes-log" && aws_s3_bucket_logging.this[0].target_prefix == "raw/"
    error_message = "Requests are not logged."
  }
  assert {
    condition     = length([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule if rule.id == "expire"]) == 0
    error_message = "Current objects expire."
  }
  assert {
    condition     = aws_s3_bucket.this.object_lock_enabled && jsonencode(aws_s3_bucket_object_lock_configuration.this[0].rule[0].default_retention[0]) == jsonencode({ days = 365, mode = "GOVERNANCE", years = null })
    error_message = "Versions are not locked."
  }
  assert {
    condition     = !aws_s3_bucket.this.force_destroy
    error_message = "terraform destroy would delete objects."
  }
}

run "access_log_bucket" {
  command = plan

  variables {
    name               = "eyes-access-log"
    arn                = "arn:aws:s3:::eyes-access-log"
    access_log_sources = { raw = "arn:aws:s3:::eyes-raw", processed = "arn:aws:s3:::eyes-processed" }
    lifecycle_days     = { noncurrent = 1, expire = 90 }
    force_destroy      = true
  }

  assert {
    condition = jsonencode([for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement : statement if statement.Effect == "Allow"]) == jsonencode([
      for role in ["processed", "raw"] : {
        Sid       = "DeliverLogsOf${title(role)}", Effect = "Allow", Action = "s3:PutObject"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Resource  = "arn:aws:s3:::eyes-access-log/${role}/*"
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::eyes-${role}" }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
      }
    ])
    error_message = "Other buckets' access logs may be delivered, or not those of these buckets: ${aws_s3_bucket_policy.this.policy}"
  }
  assert {
    condition     = [for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement : statement.Sid if statement.Effect == "Deny"] == ["DenyInsecureTransport", "DenyOutdatedTls", "DenyOtherAccounts"]
    error_message = "The log bucket denies other requests: ${aws_s3_bucket_policy.this.policy}"
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0] == { sse_algorithm = "AES256", kms_master_key_id = "" }
    error_message = "S3 delivers access logs only to buckets encrypted with its own key."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.expiration[0].days if rule.id == "expire"] == [90]
    error_message = "Access logs are not deleted after 90 days."
  }
  assert {
    condition     = flatten(aws_s3_bucket_lifecycle_configuration.this.rule[*].noncurrent_version_expiration[*].noncurrent_days) == [1]
    error_message = "Overwritten access logs are not deleted after a day."
  }
  assert {
    condition     = length(flatten(aws_s3_bucket_lifecycle_configuration.this.rule[*].transition)) + length(aws_s3_bucket_logging.this) + length(aws_s3_bucket_object_lock_configuration.this) == 0
    error_message = "Access logs are archived, logged or locked."
  }
  assert {
    condition     = aws_s3_bucket.this.force_destroy
    error_message = "terraform destroy would stop at a bucket that may be deleted with its objects."
  }
}
