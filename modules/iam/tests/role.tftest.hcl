# What the function's role may do, and who may assume it.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variables {
  role_name            = "eyes"
  region               = "us-east-1"
  function_arn         = "arn:aws:lambda:us-east-1:111122223333:function:eyes"
  raw_bucket_arn       = "arn:aws:s3:::eyes-raw"
  processed_bucket_arn = "arn:aws:s3:::eyes-processed"
  rejected_bucket_arn  = "arn:aws:s3:::eyes-rejected"
  removes_results      = false
  log_group_arn        = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes"
  queue_arns           = { ingestion = "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion", dead_letter = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter" }
  kms_key_arn          = "arn:aws:kms:us-east-1:111122223333:key/k"
  private_network      = false
}

run "execution_role" {
  command = plan

  assert {
    condition = jsonencode(jsondecode(aws_iam_role_policy.execution.policy).Statement) == jsonencode([
      { Sid = "ReadRawObjects", Effect = "Allow", Action = ["s3:GetObjectVersion", "s3:GetObject"], Resource = "arn:aws:s3:::eyes-raw/*" },
      { Sid = "TellAbsentFromForbidden", Effect = "Allow", Action = "s3:ListBucket", Resource = ["arn:aws:s3:::eyes-rejected", "arn:aws:s3:::eyes-raw"] },
      { Sid = "WriteProcessedObjects", Effect = "Allow", Action = ["s3:PutObject", "s3:AbortMultipartUpload"], Resource = "arn:aws:s3:::eyes-processed/*" },
      { Sid = "WriteAndRemoveVerdicts", Effect = "Allow", Action = ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"], Resource = "arn:aws:s3:::eyes-rejected/*" },
      { Sid = "WriteLog", Effect = "Allow", Action = ["logs:PutLogEvents", "logs:CreateLogStream"], Resource = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes:*" },
      { Sid = "SendFailedEvents", Effect = "Allow", Action = "sqs:SendMessage", Resource = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter" },
      { Sid = "TakeMessages", Effect = "Allow", Action = ["sqs:ReceiveMessage", "sqs:GetQueueAttributes", "sqs:DeleteMessage"], Resource = "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion" },
      {
        Sid      = "UseKeyForObjects", Effect = "Allow", Action = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource = "arn:aws:kms:us-east-1:111122223333:key/k"
        Condition = {
          StringEquals = { "kms:ViaService" = "s3.us-east-1.amazonaws.com" }
          StringLike = { "kms:EncryptionContext:aws:s3:arn" = [
            "arn:aws:s3:::eyes-raw", "arn:aws:s3:::eyes-raw/*",
            "arn:aws:s3:::eyes-processed", "arn:aws:s3:::eyes-processed/*",
            "arn:aws:s3:::eyes-rejected", "arn:aws:s3:::eyes-rejected/*",
          ] }
        }
      },
      {
        Sid      = "UseKeyForMessages", Effect = "Allow", Action = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource = "arn:aws:kms:us-east-1:111122223333:key/k"
        Condition = { StringEquals = {
          "kms:ViaService" = "sqs.us-east-1.amazonaws.com"
          "kms:EncryptionContext:aws:sqs:arn" = [
            "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion", "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter",
          ]
        } }
      },
      {
        Sid      = "ReadOwnVariables", Effect = "Allow", Action = "kms:Decrypt"
        Resource = "arn:aws:kms:us-east-1:111122223333:key/k"
        Condition = { StringLike = { "kms:EncryptionContext:aws:lambda:FunctionArn" = [
          "arn:aws:lambda:us-east-1:111122223333:function:eyes", "arn:aws:lambda:us-east-1:111122223333:function:eyes:*",
        ] } }
      },
      { Sid = "SendTraces", Effect = "Allow", Action = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], Resource = "*" },
    ])
    error_message = "The execution role's policy changed: ${aws_iam_role_policy.execution.policy}"
  }
  assert {
    condition     = length(aws_iam_role_policy.network) == 0 && output.network_permissions == null
    error_message = "The role may attach the function to a network although there is none."
  }
  assert {
    condition = jsonencode(jsondecode(aws_iam_role.execution.assume_role_policy).Statement) == jsonencode([
      { Sid = "LambdaOnly", Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } },
    ])
    error_message = "Not only Lambda may assume the role: ${aws_iam_role.execution.assume_role_policy}"
  }
}

run "execution_role_where_results_are_removed" {
  command = plan

  variables {
    removes_results = true
  }

  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement if contains(["TellAbsentFromForbidden", "RemoveProcessedObjects"], statement.Sid)]) == jsonencode([
      {
        Sid      = "TellAbsentFromForbidden", Effect = "Allow", Action = "s3:ListBucket"
        Resource = ["arn:aws:s3:::eyes-rejected", "arn:aws:s3:::eyes-raw", "arn:aws:s3:::eyes-processed"]
      },
      { Sid = "RemoveProcessedObjects", Effect = "Allow", Action = "s3:DeleteObject", Resource = "arn:aws:s3:::eyes-processed/*" },
    ])
    error_message = "The function cannot remove results, or may do more than that: ${aws_iam_role_policy.execution.policy}"
  }
}

run "private_network_role" {
  command = plan

  variables {
    private_network          = true
    permissions_boundary_arn = "arn:aws:iam::111122223333:policy/boundary"
  }

  assert {
    condition     = aws_iam_role.execution.permissions_boundary == "arn:aws:iam::111122223333:policy/boundary"
    error_message = "The role has no boundary, so whoever deploys could give the function every permission of the account."
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_role_policy.network[0].policy).Statement : statement if statement.Sid == "AttachToNetwork"]) == jsonencode([{
      Sid = "AttachToNetwork", Effect = "Allow", Resource = "*"
      Action = [
        "ec2:UnassignPrivateIpAddresses", "ec2:DescribeSubnets", "ec2:DescribeNetworkInterfaces",
        "ec2:DeleteNetworkInterface", "ec2:CreateNetworkInterface", "ec2:AssignPrivateIpAddresses",
      ]
    }])
    error_message = "The role cannot attach the function to its network, or may do more than that: ${aws_iam_role_policy.network[0].policy}"
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_role_policy.network[0].policy).Statement : statement if statement.Effect == "Deny"]) == jsonencode([{
      Sid       = "NotFromTheCode", Effect = "Deny", Action = "ec2:*", Resource = "*"
      Condition = { Null = { "lambda:SourceFunctionArn" = "false" } }
    }])
    error_message = "The function's own code may change the network: ${aws_iam_role_policy.network[0].policy}"
  }
  assert {
    condition     = output.network_permissions == "private-network"
    error_message = "The network does not depend on the role's permissions."
  }
}
