# The names that the pipelines of this account have or will have. Every policy here is built from them.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

module "names" {
  source = "../modules/names"

  project_name = var.project_name
  environments = var.environments
}

locals {
  account    = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  in_account = "${var.region}:${local.account}"

  state_bucket     = "${var.project_name}-tfstate-${local.account}-${var.region}"
  state_bucket_arn = "arn:${local.partition}:s3:::${local.state_bucket}"

  # As in modules/monitoring/alarms.tf.
  alarms = [
    "function-errors", "function-throttles", "function-duration", "rejected-files", "failed-files", "lost-events",
    "dead-letter-queue", "oldest-message", "nothing-processed",
  ]

  # The prefix of dev also starts every other environment's names, so no pattern ends in * where the name is known. A
  # bucket's name ends in the eight random characters of modules/pipeline.
  buckets = { for name, prefix in module.names.prefixes : name => {
    for role in ["raw-data", "processed-data", "rejected", "access-log"] : role => "arn:${local.partition}:s3:::${prefix}-${role}-????????"
  } }
  queues = { for name, prefix in module.names.prefixes : name => {
    for role in ["ingestion", "dead-letter"] : role => "arn:${local.partition}:sqs:${local.in_account}:${prefix}-${role}"
  } }
  arns = { for name, prefix in module.names.prefixes : name => {
    state        = "${local.state_bucket_arn}/${name}/terraform.tfstate"
    buckets      = values(local.buckets[name])
    data_buckets = [local.buckets[name].raw-data, local.buckets[name].processed-data]
    queues       = values(local.queues[name])
    dead_letter  = local.queues[name].dead-letter
    function     = "arn:${local.partition}:lambda:${local.in_account}:function:${prefix}-data-processor"
    layer        = "arn:${local.partition}:lambda:${local.in_account}:layer:${prefix}-dependencies"
    role         = "arn:${local.partition}:iam::${local.account}:role/${prefix}-data-processor"
    boundary     = "arn:${local.partition}:iam::${local.account}:policy/${var.project_name}-github-${name}-boundary"
    log_group    = "arn:${local.partition}:logs:${local.in_account}:log-group:/aws/lambda/${prefix}-data-processor"
    topics       = [for role in ["alarms", "rejections"] : "arn:${local.partition}:sns:${local.in_account}:${prefix}-${role}"]
    alarms       = [for alarm in local.alarms : "arn:${local.partition}:cloudwatch:${local.in_account}:alarm:${prefix}-${alarm}"]
    dashboard    = "arn:${local.partition}:cloudwatch::${local.account}:dashboard/${prefix}"
    key_alias    = "arn:${local.partition}:kms:${local.in_account}:alias/${prefix}"
  } }

  # AWS chooses these IDs, so the policies tell them apart by their tags.
  keys       = "arn:${local.partition}:kms:${local.in_account}:key/*"
  mappings   = "arn:${local.partition}:lambda:${local.in_account}:event-source-mapping:*"
  networked  = { for kind in ["vpc", "subnet", "route-table", "vpc-endpoint", "security-group", "security-group-rule"] : kind => "arn:${local.partition}:ec2:${local.in_account}:${kind}/*" }
  interfaces = "arn:${local.partition}:ec2:${local.in_account}:network-interface/*"
}
