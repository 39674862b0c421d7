data "aws_caller_identity" "current" {}

module "pipeline" {
  source   = "./modules/pipeline"
  for_each = var.environments

  name_prefix  = local.name_prefixes[each.key]
  environment  = each.key
  account_id   = data.aws_caller_identity.current.account_id
  region       = var.region
  packages_dir = "${path.root}/${var.packages_dir}"

  function = {
    architecture       = each.value.architecture
    memory_mb          = each.value.memory_mb
    timeout_seconds    = each.value.timeout_seconds
    log_retention_days = each.value.log_retention_days
  }

  data = {
    noncurrent_version_days = each.value.noncurrent_version_days
    force_destroy           = coalesce(each.value.force_destroy, each.key == "dev")
  }
}
