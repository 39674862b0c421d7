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

  function_name     = "${var.name_prefix}-data-processor"
  metrics_namespace = "RetinaScanPipeline"
  log_group_name    = "/aws/lambda/${local.function_name}"
  queues            = { ingestion = "${var.name_prefix}-ingestion", dead_letter = "${var.name_prefix}-dead-letter" }
  alarms = [ # those of modules/monitoring
    "function-errors", "function-throttles", "function-duration", "rejected-files", "failed-files", "lost-events",
    "dead-letter-queue", "oldest-message", "nothing-processed",
  ]
  buckets = {
    raw       = "${var.name_prefix}-raw-data-${terraform_data.bucket_suffix.output}"
    processed = "${var.name_prefix}-processed-data-${terraform_data.bucket_suffix.output}"
    rejected  = "${var.name_prefix}-rejected-${terraform_data.bucket_suffix.output}"
    log       = "${var.name_prefix}-access-log-${terraform_data.bucket_suffix.output}"
  }

  # ARNs are built from the names chosen here, not read from resources: no cycles between key, bucket, queue, role and
  # function, and every policy is readable in a plan.
  in_account       = "${var.region}:${var.account_id}"
  function_arn     = "arn:${local.partition}:lambda:${local.in_account}:function:${local.function_name}"
  alias_arn        = "${local.function_arn}:${module.lambda.alias}"
  log_group_arn    = "arn:${local.partition}:logs:${local.in_account}:log-group:${local.log_group_name}"
  queue_arn_prefix = "arn:${local.partition}:sqs:${local.in_account}:"
  queue_arns       = { for role, name in local.queues : role => "${local.queue_arn_prefix}${name}" }
  alarm_arns       = [for alarm in local.alarms : "arn:${local.partition}:cloudwatch:${local.in_account}:alarm:${var.name_prefix}-${alarm}"]
  topic_arns       = { for topic in ["alarms", "rejections"] : topic => "arn:${local.partition}:sns:${local.in_account}:${var.name_prefix}-${topic}" }
  bucket_arns      = { for role, name in local.buckets : role => "arn:${local.partition}:s3:::${name}" }
}

module "kms" {
  source = "../kms"

  alias                = var.name_prefix
  account_id           = var.account_id
  partition            = local.partition
  region               = var.region
  deletion_window_days = var.data.force_destroy ? 7 : 30
  log_group_arns       = [local.log_group_arn]
  alarm_topic_arn      = local.topic_arns.alarms
  tags                 = local.tags

  notifying_bucket_arns = [local.bucket_arns.raw, local.bucket_arns.rejected]
}

module "log_bucket" {
  source = "../s3"

  name               = local.buckets.log
  arn                = local.bucket_arns.log
  account_id         = var.account_id
  access_log_sources = { for role, arn in local.bucket_arns : role => arn if role != "log" }
  lifecycle_days     = { noncurrent = 1, expire = var.data.access_log_days }
  force_destroy      = var.data.force_destroy
  tags               = local.tags
}

module "bucket" {
  source   = "../s3"
  for_each = { raw = var.data.archive_after_days, processed = null, rejected = null }

  name             = local.buckets[each.key]
  arn              = local.bucket_arns[each.key]
  account_id       = var.account_id
  kms_key          = { arn = module.kms.arn }
  access_log       = { bucket = module.log_bucket.name, prefix = "${each.key}/" }
  lifecycle_days   = { noncurrent = var.data.noncurrent_version_days, archive = each.value }
  object_lock_days = var.data.object_lock_days
  force_destroy    = var.data.force_destroy
  tags             = local.tags
}

# In both modes: switching between them then is a single call that changes where S3 sends its notifications, and what is
# still in the queue is processed all the same.
module "queue" {
  source = "../queue"

  names                      = local.queues
  arn_prefix                 = local.queue_arn_prefix
  account_id                 = var.account_id
  source_bucket_arn          = local.bucket_arns.raw
  kms_key_arn                = module.kms.arn
  visibility_timeout_seconds = local.visibility_timeout_seconds
  tags                       = local.tags
}

module "network" {
  source = "../network"
  count  = var.private_network == null ? 0 : 1

  name               = var.name_prefix
  region             = var.region
  availability_zones = var.private_network.availability_zones
  cidr_block         = var.private_network.cidr_block
  bucket_arns        = [local.bucket_arns.raw, local.bucket_arns.processed, local.bucket_arns.rejected]
  role_permissions   = module.iam.network_permissions
  tags               = local.tags
}

module "iam" {
  source = "../iam"

  role_name            = local.function_name
  region               = var.region
  function_arn         = local.function_arn
  raw_bucket_arn       = local.bucket_arns.raw
  processed_bucket_arn = local.bucket_arns.processed
  rejected_bucket_arn  = local.bucket_arns.rejected
  removes_results      = var.data.stale_results == "remove"
  log_group_arn        = local.log_group_arn
  queue_arns           = local.queue_arns
  kms_key_arn          = module.kms.arn
  private_network      = var.private_network != null
  tags                 = local.tags

  permissions_boundary_arn = var.permissions_boundary == null ? null : "arn:${local.partition}:iam::${var.account_id}:policy/${var.permissions_boundary}"
}

module "layers" {
  source = "../layers"

  name         = "${var.name_prefix}-dependencies"
  package      = "${var.packages_dir}/layer-${var.function.architecture}.zip"
  architecture = var.function.architecture
}

module "lambda" {
  source = "../lambda"

  name              = local.function_name
  log_group_name    = local.log_group_name
  package           = "${var.packages_dir}/function.zip"
  role_arn          = module.iam.role_arn
  layer_arns        = [module.layers.arn]
  kms_key_arn       = module.kms.arn
  failure_queue_arn = module.queue.dead_letter_arn
  network           = one(module.network[*].function)
  settings          = var.function
  tags              = local.tags

  environment_variables = {
    # Names of buckets that are there: a deploy that fails before that leaves the function as it was.
    PROCESSED_BUCKET             = module.bucket["processed"].name
    REJECTED_BUCKET              = module.bucket["rejected"].name
    STALE_RESULTS                = var.data.stale_results
    POWERTOOLS_SERVICE_NAME      = local.function_name
    POWERTOOLS_METRICS_NAMESPACE = local.metrics_namespace
  }
}

# Whoever sends the files learns of each one that is rejected.
module "rejections" {
  source = "../topic"

  arn         = local.topic_arns.rejections
  account_id  = var.account_id
  kms_key_arn = module.kms.arn
  emails      = var.monitoring.rejection_emails
  publisher   = { name = "Verdicts", service = "s3.amazonaws.com", arns = [local.bucket_arns.rejected] }
  tags        = local.tags
}

resource "aws_s3_bucket_notification" "rejected" {
  bucket = module.bucket["rejected"].name

  topic {
    topic_arn = module.rejections.arn
    events    = ["s3:ObjectCreated:*"]
  }
}

module "monitoring" {
  source = "../monitoring"

  name            = var.name_prefix
  environment     = var.environment
  account_id      = var.account_id
  region          = var.region
  topic_arn       = local.topic_arns.alarms
  alarm_arns      = local.alarm_arns
  kms_key_arn     = module.kms.arn
  alarm_emails    = var.monitoring.alarm_emails
  saved_queries   = var.monitoring.saved_queries
  request_metrics = var.monitoring.request_metrics
  tags            = local.tags

  watched = {
    function_name          = module.lambda.function_name
    timeout_seconds        = var.function.timeout_seconds
    log_group_name         = module.lambda.log_group_name
    metrics_namespace      = local.metrics_namespace
    raw_bucket             = module.bucket["raw"].name
    ingestion_queue        = local.queues.ingestion
    dead_letter_queue      = local.queues.dead_letter
    oldest_message_seconds = 3 * var.function.timeout_seconds
    redelivery_seconds     = local.visibility_timeout_seconds
    most_at_once           = var.ingestion.mode == "queue" ? var.ingestion.maximum_concurrency : var.function.reserved_concurrency
  }
}
