# One environment: raw bucket -> function -> processed bucket, with failed events in a dead-letter queue.
# Only this module knows the others: it chooses all names, passes them down, and connects the outputs in trigger.tf.

# Bucket names are unique across AWS. The suffix is random and then stays in the state; random_string would need another
# provider.
resource "terraform_data" "bucket_suffix" {
  input = substr(uuid(), 0, 8)

  lifecycle {
    ignore_changes = [input]
  }
}

data "aws_partition" "current" {}

locals {
  tags          = { Environment = var.environment }
  partition     = data.aws_partition.current.partition
  force_destroy = coalesce(var.settings.force_destroy, var.environment == "dev" && var.settings.object_lock_days == null)

  function_name     = "${var.name_prefix}-data-processor"
  metrics_namespace = "RetinaScanPipeline"
  log_group_name    = "/aws/lambda/${local.function_name}"
  queues            = { ingestion = "${var.name_prefix}-ingestion", dead_letter = "${var.name_prefix}-dead-letter" }
  alarms = [ # as in modules/monitoring
    "function-errors", "function-throttles", "function-duration", "rejected-files", "failed-files", "lost-events",
    "dead-letter-queue", "oldest-message", "nothing-processed",
  ]
  buckets = {
    raw       = "${var.name_prefix}-raw-data-${terraform_data.bucket_suffix.output}"
    processed = "${var.name_prefix}-processed-data-${terraform_data.bucket_suffix.output}"
    rejected  = "${var.name_prefix}-rejected-${terraform_data.bucket_suffix.output}"
    log       = "${var.name_prefix}-access-log-${terraform_data.bucket_suffix.output}"
  }

  # ARNs are built from these names and not read from resources, so that key, buckets, queues, role and function form no
  # cycle, and a plan shows every policy in full.
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
  deletion_window_days = local.force_destroy ? 7 : 30
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
  lifecycle_days     = { noncurrent = 1, expire = var.settings.access_log_days }
  force_destroy      = local.force_destroy
  tags               = local.tags
}

module "bucket" {
  source   = "../s3"
  for_each = { raw = var.settings.archive_after_days, processed = null, rejected = null }

  name             = local.buckets[each.key]
  arn              = local.bucket_arns[each.key]
  account_id       = var.account_id
  kms_key          = { arn = module.kms.arn }
  access_log       = { bucket = module.log_bucket.name, prefix = "${each.key}/" }
  lifecycle_days   = { noncurrent = var.settings.noncurrent_version_days, archive = each.value }
  object_lock_days = var.settings.object_lock_days
  force_destroy    = local.force_destroy
  tags             = local.tags
}

# In both modes, so that switching the mode only changes where S3 sends its notifications, and messages still in the
# queue are processed.
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
  count  = var.settings.private_network == null ? 0 : 1

  name               = var.name_prefix
  region             = var.region
  availability_zones = var.settings.private_network.availability_zones
  cidr_block         = var.settings.private_network.cidr_block
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
  removes_results      = var.settings.stale_results == "remove"
  log_group_arn        = local.log_group_arn
  queue_arns           = local.queue_arns
  kms_key_arn          = module.kms.arn
  private_network      = var.settings.private_network != null
  tags                 = local.tags

  permissions_boundary_arn = var.settings.permissions_boundary == null ? null : "arn:${local.partition}:iam::${var.account_id}:policy/${var.settings.permissions_boundary}"
}

module "layers" {
  source = "../layers"

  name         = "${var.name_prefix}-dependencies"
  package      = "${var.packages_dir}/layer-${var.settings.architecture}.zip"
  architecture = var.settings.architecture
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
  settings          = var.settings
  tags              = local.tags

  environment_variables = {
    # From the module's output, so that a deploy that fails to create the buckets leaves the function unchanged.
    PROCESSED_BUCKET             = module.bucket["processed"].name
    REJECTED_BUCKET              = module.bucket["rejected"].name
    STALE_RESULTS                = var.settings.stale_results
    POWERTOOLS_SERVICE_NAME      = local.function_name
    POWERTOOLS_METRICS_NAMESPACE = local.metrics_namespace
  }
}

# Notifies the senders of each file that is rejected.
module "rejections" {
  source = "../topic"

  arn         = local.topic_arns.rejections
  account_id  = var.account_id
  kms_key_arn = module.kms.arn
  emails      = var.settings.rejection_emails
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
  alarm_emails    = var.settings.alarm_emails
  saved_queries   = var.saved_queries
  request_metrics = var.request_metrics
  tags            = local.tags

  watched = {
    function_name          = module.lambda.function_name
    timeout_seconds        = var.settings.timeout_seconds
    log_group_name         = module.lambda.log_group_name
    metrics_namespace      = local.metrics_namespace
    raw_bucket             = module.bucket["raw"].name
    ingestion_queue        = local.queues.ingestion
    dead_letter_queue      = local.queues.dead_letter
    oldest_message_seconds = 3 * var.settings.timeout_seconds
    redelivery_seconds     = local.visibility_timeout_seconds
    most_at_once           = var.settings.ingestion == "queue" ? var.settings.maximum_concurrency : var.settings.reserved_concurrency
  }
}
