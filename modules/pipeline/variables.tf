variable "name_prefix" {
  description = "First part of every resource name of this environment."
  type        = string
  nullable    = false
}

variable "environment" {
  description = "Name of the environment, for the Environment tag."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account that owns the resources, 12 digits."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the resources."
  type        = string
  nullable    = false
}

variable "packages_dir" {
  description = "Folder that holds function.zip and layer-<architecture>.zip."
  type        = string
  nullable    = false
}

variable "function" {
  description = <<-EOT
    The function's size and log.
    - architecture: x86_64 or arm64.
    - memory_mb: memory in MiB.
    - timeout_seconds: time limit of one invocation.
    - log_retention_days: how long its log is kept.
  EOT
  type = object({
    architecture       = string
    memory_mb          = number
    timeout_seconds    = number
    log_retention_days = number
  })
  nullable = false
}

variable "data" {
  description = <<-EOT
    How the data buckets keep what they hold.
    - noncurrent_version_days: days that overwritten and deleted objects stay recoverable.
    - force_destroy: whether destroy may delete buckets that hold objects.
  EOT
  type = object({
    noncurrent_version_days = number
    force_destroy           = bool
  })
  nullable = false
}
