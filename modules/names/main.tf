# How the names of an environment begin, in one place for the pipelines and for what bootstrap lets GitHub do with them.
locals {
  # dev carries the plain project name, so its function and log group have the documented names.
  prefixes = { for name in var.environments : name => name == "dev" ? var.project_name : "${var.project_name}-${name}" }
}
