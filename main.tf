data "aws_caller_identity" "current" {}

module "names" {
  source = "./modules/names"

  project_name = var.project_name
  environments = keys(var.environments)
}

module "pipeline" {
  source   = "./modules/pipeline"
  for_each = var.environments

  name_prefix  = module.names.prefixes[each.key]
  environment  = each.key
  account_id   = data.aws_caller_identity.current.account_id
  region       = var.region
  packages_dir = "${path.root}/${var.packages_dir}"

  function = {
    architecture         = each.value.architecture
    memory_mb            = each.value.memory_mb
    timeout_seconds      = each.value.timeout_seconds
    log_retention_days   = each.value.log_retention_days
    reserved_concurrency = each.value.reserved_concurrency
  }

  ingestion = {
    mode                    = each.value.ingestion
    maximum_concurrency     = each.value.maximum_concurrency
    batch_size              = each.value.batch_size
    batching_window_seconds = each.value.batching_window_seconds
  }

  data = {
    noncurrent_version_days = each.value.noncurrent_version_days
    archive_after_days      = each.value.archive_after_days
    object_lock_days        = each.value.object_lock_days
    access_log_days         = each.value.access_log_days
    stale_results           = each.value.stale_results
    force_destroy           = coalesce(each.value.force_destroy, each.key == "dev" && each.value.object_lock_days == null)
  }

  private_network      = each.value.private_network
  permissions_boundary = each.value.permissions_boundary

  monitoring = {
    alarm_emails     = each.value.alarm_emails
    rejection_emails = each.value.rejection_emails
    saved_queries    = var.saved_queries
    request_metrics  = var.request_metrics
  }
}
