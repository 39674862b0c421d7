# The key, and which service may use it for what.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

run "key" {
  command = plan

  variables {
    alias                 = "eyes"
    account_id            = "111122223333"
    partition             = "aws"
    region                = "us-east-1"
    deletion_window_days  = 30
    log_group_arns        = ["arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes"]
    notifying_bucket_arns = ["arn:aws:s3:::eyes-raw", "arn:aws:s3:::eyes-rejected"]
    alarm_topic_arn       = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30 && aws_kms_alias.this.name == "alias/eyes"
    error_message = "The key must rotate, and its deletion must be cancellable for 30 days."
  }
  assert {
    condition = jsonencode(jsondecode(aws_kms_key.this.policy).Statement) == jsonencode([
      { Sid = "AccountDecides", Effect = "Allow", Action = "kms:*", Resource = "*", Principal = { AWS = "arn:aws:iam::111122223333:root" } },
      {
        Sid       = "LogGroups", Effect = "Allow", Resource = "*", Principal = { Service = "logs.us-east-1.amazonaws.com" }
        Action    = ["kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Encrypt", "kms:DescribeKey", "kms:Decrypt"]
        Condition = { ArnEquals = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes" } }
      },
      {
        Sid    = "BucketNotifications", Effect = "Allow", Resource = "*", Principal = { Service = "s3.amazonaws.com" }
        Action = ["kms:GenerateDataKey", "kms:Decrypt"]
        Condition = {
          ArnEquals    = { "aws:SourceArn" = ["arn:aws:s3:::eyes-raw", "arn:aws:s3:::eyes-rejected"] }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
      },
      {
        Sid       = "Alarms", Effect = "Allow", Resource = "*", Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
        Condition = { ArnEquals = { "kms:EncryptionContext:aws:sns:topicArn" = "arn:aws:sns:us-east-1:111122223333:eyes-alarms" } }
      },
    ])
    error_message = "The key's policy changed: ${aws_kms_key.this.policy}"
  }
}
