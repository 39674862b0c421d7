# Uploads start the function; what it cannot process ends in the dead-letter queue.

resource "aws_lambda_permission" "s3" {
  statement_id  = "AllowRawBucket"
  action        = "lambda:InvokeFunction"
  function_name = module.lambda.function_name
  principal     = "s3.amazonaws.com"
  source_arn    = local.bucket_arns.raw
  # A bucket ARN holds no account: without this, whoever re-creates a deleted bucket's name could invoke the function.
  source_account = var.account_id
}

# The only notification resource of the raw bucket: a second one would silently replace this one.
resource "aws_s3_bucket_notification" "raw" {
  bucket = module.bucket["raw"].name

  lambda_function {
    lambda_function_arn = local.function_arn
    events              = ["s3:ObjectCreated:*"]
    filter_suffix       = ".json"
  }

  # S3 tests the permission when the notification is made.
  depends_on = [aws_lambda_permission.s3]
}

resource "aws_sqs_queue" "dead_letter" {
  name                      = local.dead_letter_queue
  message_retention_seconds = 14 * 24 * 3600 # the longest that SQS offers
  sqs_managed_sse_enabled   = true
  policy                    = data.aws_iam_policy_document.dead_letter.json
  tags                      = local.tags
}

data "aws_iam_policy_document" "dead_letter" {
  statement {
    sid       = "DenyInsecureTransport"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [local.dead_letter_queue_arn]

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
