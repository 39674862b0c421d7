# Exactly what the function may do. Every ARN is exact.

resource "aws_iam_role" "execution" {
  name                 = var.role_name
  description          = "Execution role of the Lambda function ${var.role_name}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary_arn
  tags                 = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name   = "pipeline"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.execution.json
}

data "aws_iam_policy_document" "trust" {
  statement {
    sid     = "LambdaOnly"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "execution" {
  statement {
    sid       = "ReadRawObjects"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${var.raw_bucket_arn}/*"]
  }

  statement {
    # Without it S3 answers 403 for a missing object, as if a permission were missing. In the processed bucket, whose
    # objects the function cannot read, it lists keys to see whether there is a result to remove.
    sid       = "TellAbsentFromForbidden"
    actions   = ["s3:ListBucket"]
    resources = concat([var.raw_bucket_arn, var.rejected_bucket_arn], var.removes_results ? [var.processed_bucket_arn] : [])
  }

  statement {
    sid       = "WriteProcessedObjects"
    actions   = ["s3:PutObject", "s3:AbortMultipartUpload"]
    resources = ["${var.processed_bucket_arn}/*"]
  }

  dynamic "statement" {
    for_each = var.removes_results ? ["results"] : []

    content {
      # This only adds a delete marker: the versions stay.
      sid       = "RemoveProcessedObjects"
      actions   = ["s3:DeleteObject"]
      resources = ["${var.processed_bucket_arn}/*"]
    }
  }

  statement {
    sid       = "WriteAndRemoveVerdicts"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["${var.rejected_bucket_arn}/*"]
  }

  statement {
    sid       = "WriteLog"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${var.log_group_arn}:*"]
  }

  statement {
    sid       = "SendFailedEvents"
    actions   = ["sqs:SendMessage"]
    resources = [var.queue_arns.dead_letter]
  }

  statement {
    sid       = "TakeMessages"
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    resources = [var.queue_arns.ingestion]
  }

  statement {
    sid       = "UseKeyForObjects"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }

    # With a bucket key the context is the bucket's ARN; for objects older than the bucket key it is the object's.
    condition {
      test     = "StringLike"
      variable = "kms:EncryptionContext:aws:s3:arn"
      values = [
        var.raw_bucket_arn, "${var.raw_bucket_arn}/*",
        var.processed_bucket_arn, "${var.processed_bucket_arn}/*",
        var.rejected_bucket_arn, "${var.rejected_bucket_arn}/*",
      ]
    }
  }

  statement {
    sid       = "UseKeyForMessages"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["sqs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:aws:sqs:arn"
      values   = [var.queue_arns.ingestion, var.queue_arns.dead_letter]
    }
  }

  statement {
    # Lambda decrypts the environment variables as this role. The grant that Lambda creates for that on deploy is lost
    # when the role is deleted and re-created under the same name.
    sid       = "ReadOwnVariables"
    actions   = ["kms:Decrypt"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringLike"
      variable = "kms:EncryptionContext:aws:lambda:FunctionArn"
      values   = [var.function_arn, "${var.function_arn}:*"]
    }
  }

  statement {
    # Traces have no ARN.
    sid       = "SendTraces"
    actions   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
    resources = ["*"]
  }
}

# A separate policy, because it must outlive the network: without it Lambda cannot delete its network interfaces, and
# AWS does not delete a network that has any (Lambda developer guide, "Deleting ENIs").
resource "aws_iam_role_policy" "network" {
  count = var.private_network ? 1 : 0

  name   = "private-network"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.network.json
}

data "aws_iam_policy_document" "network" {
  #checkov:skip=CKV_AWS_111:The IDs of the interfaces are not known in advance, and the function's own code is denied all of EC2
  statement {
    # Lambda creates and deletes the function's network interfaces as this role. Their IDs are not known in advance.
    sid = "AttachToNetwork"
    actions = [
      "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets",
      "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses",
    ]
    resources = ["*"]
  }

  statement {
    # Lambda makes the calls above from outside the function. Calls by the function's code carry the function's ARN.
    sid       = "NotFromTheCode"
    effect    = "Deny"
    actions   = ["ec2:*"]
    resources = ["*"]

    condition {
      test     = "Null"
      variable = "lambda:SourceFunctionArn"
      values   = ["false"]
    }
  }
}
