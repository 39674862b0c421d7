# One environment: raw bucket -> function -> processed bucket, with failed events in a dead-letter queue.
# This module alone knows the others. Names travel down into them; what they hand back is wired in trigger.tf.

# Bucket names are shared by all of AWS. The suffix is drawn once and then kept in the state.
resource "terraform_data" "bucket_suffix" {
  input = substr(uuid(), 0, 8)

  lifecycle {
    ignore_changes = [input]
  }
}

data "aws_partition" "current" {}

locals {
  tags      = { Environment = var.environment }
  partition = data.aws_partition.current.partition

  log_group_name    = "/aws/lambda/${local.function_name}"
  function_name     = "${var.name_prefix}-data-processor"
  dead_letter_queue = "${var.name_prefix}-dead-letter"
  buckets = {
    raw       = "${var.name_prefix}-raw-data-${terraform_data.bucket_suffix.output}"
    processed = "${var.name_prefix}-processed-data-${terraform_data.bucket_suffix.output}"
  }

  # ARNs are built from the names chosen here, not read from resources: no cycles between bucket, queue, role and
  # function, and every policy is readable in a plan.
  function_arn          = "arn:${local.partition}:lambda:${var.region}:${var.account_id}:function:${local.function_name}"
  log_group_arn         = "arn:${local.partition}:logs:${var.region}:${var.account_id}:log-group:${local.log_group_name}"
  dead_letter_queue_arn = "arn:${local.partition}:sqs:${var.region}:${var.account_id}:${local.dead_letter_queue}"
  bucket_arns           = { for role, name in local.buckets : role => "arn:${local.partition}:s3:::${name}" }
}

module "bucket" {
  source   = "../s3"
  for_each = local.buckets

  name                    = each.value
  arn                     = local.bucket_arns[each.key]
  noncurrent_version_days = var.data.noncurrent_version_days
  force_destroy           = var.data.force_destroy
  tags                    = local.tags
}

module "iam" {
  source = "../iam"

  role_name             = local.function_name
  raw_bucket_arn        = local.bucket_arns.raw
  processed_bucket_arn  = local.bucket_arns.processed
  log_group_arn         = local.log_group_arn
  dead_letter_queue_arn = local.dead_letter_queue_arn
  tags                  = local.tags
}

module "layers" {
  source = "../layers"

  name         = "${var.name_prefix}-dependencies"
  package      = "${var.packages_dir}/layer-${var.function.architecture}.zip"
  architecture = var.function.architecture
}

module "lambda" {
  source = "../lambda"

  name                  = local.function_name
  log_group_name        = local.log_group_name
  package               = "${var.packages_dir}/function.zip"
  role_arn              = module.iam.role_arn
  layer_arns            = [module.layers.arn]
  environment_variables = { PROCESSED_BUCKET = local.buckets.processed }
  failure_queue_arn     = aws_sqs_queue.dead_letter.arn
  settings              = var.function
  tags                  = local.tags
}
