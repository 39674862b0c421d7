# The topic, who may publish to it, and who reads it.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

run "topic" {
  command = plan

  variables {
    arn         = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
    account_id  = "111122223333"
    kms_key_arn = "arn:aws:kms:us-east-1:111122223333:key/k"
    publisher = { name = "Alarms", service = "cloudwatch.amazonaws.com", arns = [
      "arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-function-errors", "arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-lost-events",
    ] }
    emails = ["oncall@example.org"]
  }

  assert {
    condition     = aws_sns_topic.this.name == "eyes-alarms" && aws_sns_topic.this.kms_master_key_id == "arn:aws:kms:us-east-1:111122223333:key/k"
    error_message = "The topic must be encrypted with the environment's key."
  }
  assert {
    condition     = [for subscription in aws_sns_topic_subscription.email : "${subscription.protocol} ${subscription.endpoint}"] == ["email oncall@example.org"]
    error_message = "The addresses are not subscribed."
  }
  assert {
    condition = jsonencode(jsondecode(aws_sns_topic_policy.this.policy).Statement) == jsonencode([
      {
        Sid      = "AlarmsPublish", Effect = "Allow", Action = "sns:Publish", Principal = { Service = "cloudwatch.amazonaws.com" }
        Resource = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
        Condition = {
          ArnEquals    = { "aws:SourceArn" = ["arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-function-errors", "arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-lost-events"] }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
      },
      {
        Sid       = "DenyInsecureTransport", Effect = "Deny", Action = "sns:Publish", Principal = "*"
        Resource  = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ])
    error_message = "The topic's policy changed: ${aws_sns_topic_policy.this.policy}"
  }
}
