# The prefix of each environment's resource names, defined once for the pipelines and for bootstrap's policies.
locals {
  # dev carries the plain project name, so its function and log group have the documented names.
  prefixes = { for name in var.environments : name => name == "dev" ? var.project_name : "${var.project_name}-${name}" }
}
