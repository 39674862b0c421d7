variable "name_prefix" {
  description = "First part of every resource name of this environment."
  type        = string
  nullable    = false
}

variable "environment" {
  description = "Name of the environment, for the Environment tag and the commands in the alarms' descriptions."
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
    - reserved_concurrency: invocations at once, taken out of the account's pool. Null: no limit but the account's.
  EOT
  type = object({
    architecture         = string
    memory_mb            = number
    timeout_seconds      = number
    log_retention_days   = number
    reserved_concurrency = number
  })
  nullable = false
}

variable "ingestion" {
  description = <<-EOT
    How uploads reach the function.
    - mode: direct, S3 invokes it, or queue, S3 sends to a queue that it is fed from.
    - maximum_concurrency: invocations at once that the queue feeds, 2 to 1000.
    - batch_size: files at most that one invocation gets from the queue, 1 to 10.
    - batching_window_seconds: how long messages are gathered before an invocation, 0 to 300.
  EOT
  type = object({
    mode                    = string
    maximum_concurrency     = number
    batch_size              = number
    batching_window_seconds = number
  })
  nullable = false
}

variable "data" {
  description = <<-EOT
    How the buckets keep what they hold, in days. Null: never.
    - noncurrent_version_days: overwritten and deleted objects stay recoverable for so long.
    - archive_after_days: raw objects of 128 KB and more move to cheaper storage after so long.
    - object_lock_days: nobody can delete a version for so long.
    - access_log_days: access logs are kept for so long.
    - stale_results: whether to keep or remove the result of an older version when the newest one is rejected or deleted.
    - force_destroy: whether destroy may delete buckets that hold objects.
  EOT
  type = object({
    noncurrent_version_days = number
    archive_after_days      = number
    object_lock_days        = number
    access_log_days         = number
    stale_results           = string
    force_destroy           = bool
  })
  nullable = false
}

variable "private_network" {
  description = <<-EOT
    A network of the function's own, without a way to the internet. Null: none.
    - availability_zones: two zones of the region.
    - cidr_block: its addresses.
  EOT
  type = object({
    availability_zones = list(string)
    cidr_block         = string
  })
}

variable "permissions_boundary" {
  description = "Name of the policy that bounds the function's role, whatever permissions it is given. Null: none."
  type        = string
  default     = null
}

variable "monitoring" {
  description = <<-EOT
    Who learns of trouble, and how.
    - alarm_emails: addresses that alarms are sent to.
    - rejection_emails: addresses that are told of each rejected file.
    - saved_queries: whether to save log queries for rejected and for slow files.
    - request_metrics: whether S3 counts the raw bucket's requests.
  EOT
  type = object({
    alarm_emails     = list(string)
    rejection_emails = list(string)
    saved_queries    = bool
    request_metrics  = bool
  })
  nullable = false
}
