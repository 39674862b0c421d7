locals {
  # If the environments name their account, Terraform works in no other, whoever runs it.
  account_ids = distinct(compact([for e in values(var.environments) : e.account_id]))

  # The plain outputs describe the only pipeline of this state. With several pipelines they are null.
  only_pipeline = length(module.pipeline) == 1 ? one(values(module.pipeline)) : null
}
