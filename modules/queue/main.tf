# The queue that receives the uploads' events, and the one that keeps failed events.

locals {
  ingestion_arn   = "${var.arn_prefix}${var.names.ingestion}"
  dead_letter_arn = "${var.arn_prefix}${var.names.dead_letter}"
  longest_seconds = 14 * 24 * 3600 # the longest retention that SQS offers
}

resource "aws_sqs_queue" "ingestion" {
  name                       = var.names.ingestion
  message_retention_seconds  = local.longest_seconds
  visibility_timeout_seconds = var.visibility_timeout_seconds
  kms_master_key_id          = var.kms_key_arn
  policy                     = data.aws_iam_policy_document.ingestion.json
  tags                       = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letter.arn
    # With fewer, messages that a throttled function could not take would end up in the dead-letter queue.
    maxReceiveCount = 5
  })
}

resource "aws_sqs_queue" "dead_letter" {
  name                      = var.names.dead_letter
  message_retention_seconds = local.longest_seconds
  kms_master_key_id         = var.kms_key_arn
  policy                    = data.aws_iam_policy_document.tls_only["dead_letter"].json
  tags                      = var.tags

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [local.ingestion_arn]
  })
}

data "aws_iam_policy_document" "ingestion" {
  statement {
    sid       = "RawBucketNotifies"
    actions   = ["sqs:SendMessage"]
    resources = [local.ingestion_arn]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [var.source_bucket_arn]
    }

    # A bucket ARN contains no account: without this, anyone who re-creates a deleted bucket's name could send.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }

  source_policy_documents = [data.aws_iam_policy_document.tls_only["ingestion"].json]
}

data "aws_iam_policy_document" "tls_only" {
  for_each = { ingestion = local.ingestion_arn, dead_letter = local.dead_letter_arn }

  statement {
    sid       = "DenyInsecureTransport"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}
