# Both queues, and who may send to them.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

run "queues" {
  command = plan

  override_resource {
    target          = aws_sqs_queue.dead_letter
    override_during = plan
    values          = { arn = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter" }
  }

  variables {
    names                      = { ingestion = "eyes-ingestion", dead_letter = "eyes-dead-letter" }
    arn_prefix                 = "arn:aws:sqs:us-east-1:111122223333:"
    account_id                 = "111122223333"
    source_bucket_arn          = "arn:aws:s3:::eyes-raw"
    kms_key_arn                = "arn:aws:kms:us-east-1:111122223333:key/k"
    visibility_timeout_seconds = 365
  }

  assert {
    condition     = alltrue([for queue in [aws_sqs_queue.ingestion, aws_sqs_queue.dead_letter] : queue.kms_master_key_id == "arn:aws:kms:us-east-1:111122223333:key/k" && queue.message_retention_seconds == 1209600])
    error_message = "Both queues must be encrypted with the environment's key and keep messages for 14 days."
  }
  assert {
    condition     = aws_sqs_queue.ingestion.visibility_timeout_seconds == 365
    error_message = "The visibility timeout is not the given one."
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.ingestion.redrive_policy) == { deadLetterTargetArn = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter", maxReceiveCount = 5 }
    error_message = "Messages that fail five times must go to the dead-letter queue: ${aws_sqs_queue.ingestion.redrive_policy}"
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.dead_letter.redrive_allow_policy) == { redrivePermission = "byQueue", sourceQueueArns = ["arn:aws:sqs:us-east-1:111122223333:eyes-ingestion"] }
    error_message = "Other queues may use the dead-letter queue: ${aws_sqs_queue.dead_letter.redrive_allow_policy}"
  }
  assert {
    condition = jsonencode(jsondecode(aws_sqs_queue.ingestion.policy).Statement) == jsonencode([
      {
        Sid       = "DenyInsecureTransport", Effect = "Deny", Principal = "*", Action = "sqs:*"
        Resource  = "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid      = "RawBucketNotifies", Effect = "Allow", Action = "sqs:SendMessage", Principal = { Service = "s3.amazonaws.com" }
        Resource = "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion"
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::eyes-raw" }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
      },
    ])
    error_message = "The ingestion queue's policy changed: ${aws_sqs_queue.ingestion.policy}"
  }
  assert {
    condition = jsonencode(jsondecode(aws_sqs_queue.dead_letter.policy).Statement) == jsonencode([
      {
        Sid       = "DenyInsecureTransport", Effect = "Deny", Principal = "*", Action = "sqs:*"
        Resource  = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ])
    error_message = "The dead-letter queue's policy changed: ${aws_sqs_queue.dead_letter.policy}"
  }
}
