# One key for all data of an environment. A service may use it only for this environment's resources.

resource "aws_kms_key" "this" {
  description             = "Encrypts the data of ${var.alias}"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_days
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = var.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.alias}"
  target_key_id = aws_kms_key.this.key_id
}

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:In a key policy "*" means this key, and the account must be able to manage it
  #checkov:skip=CKV_AWS_111:In a key policy "*" means this key, and services are limited to this environment's resources
  #checkov:skip=CKV_AWS_356:In a key policy "*" means this key
  # In a key policy, "*" means this key. Without this statement nobody could ever change the key again; with it, the IAM
  # policies of this account decide who uses the key.
  statement {
    sid       = "AccountDecides"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${var.partition}:iam::${var.account_id}:root"]
    }
  }

  statement {
    sid       = "LogGroups"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = var.log_group_arns
    }
  }

  statement {
    sid       = "BucketNotifications"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = var.notifying_bucket_arns
    }
  }

  statement {
    sid       = "Alarms"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    # CloudWatch calls KMS itself, and AWS documents no aws:SourceArn for those calls. The encryption context names the
    # topic, and the topic's policy lets only these alarms publish.
    condition {
      test     = "ArnEquals"
      variable = "kms:EncryptionContext:aws:sns:topicArn"
      values   = [var.alarm_topic_arn]
    }
  }
}
