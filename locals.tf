locals {
  # Where the environments say which account they belong to, no other is touched, whoever runs Terraform.
  account_ids = distinct(compact([for e in values(var.environments) : e.account_id]))

  # The plain outputs speak for the only pipeline of this state; with several there is no such thing.
  only_pipeline = length(module.pipeline) == 1 ? one(values(module.pipeline)) : null
}
