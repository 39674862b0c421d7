data "aws_caller_identity" "current" {}

module "names" {
  source = "./modules/names"

  project_name = var.project_name
  environments = keys(var.environments)
}

module "pipeline" {
  source   = "./modules/pipeline"
  for_each = var.environments

  name_prefix     = module.names.prefixes[each.key]
  environment     = each.key
  account_id      = data.aws_caller_identity.current.account_id
  region          = var.region
  packages_dir    = "${path.root}/${var.packages_dir}"
  settings        = each.value
  saved_queries   = var.saved_queries
  request_metrics = var.request_metrics
}
