variable "name_prefix" {
  description = "First part of every resource name of this environment."
  type        = string
  nullable    = false

  validation {
    # The longest name is that of a bucket: <prefix>-processed-data-<8 characters>, 63 at most.
    condition     = length(var.name_prefix) <= 39
    error_message = "${var.environment}: bucket names that begin with ${var.name_prefix} are too long. Shorten project_name or the environment's name, so that they and the hyphen between them have at most 39 characters."
  }
}

variable "environment" {
  description = "Name of the environment, for the Environment tag and for the commands in the alarms' descriptions."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.environment))
    error_message = "${var.environment} cannot be the name of an environment, because resource names contain it. Use 2 to 10 lower-case letters and digits, starting with a letter."
  }
}

variable "account_id" {
  description = "AWS account that owns the resources, 12 digits."
  type        = string
  nullable    = false
}

variable "region" {
  description = "AWS region of the resources."
  type        = string
  nullable    = false
}

variable "packages_dir" {
  description = "Folder that holds function.zip and layer-<architecture>.zip."
  type        = string
  nullable    = false
}

variable "saved_queries" {
  description = "Whether to save CloudWatch Logs queries for rejected and for slow files."
  type        = bool
  nullable    = false
}

variable "request_metrics" {
  description = "Whether S3 counts the raw bucket's requests. If not, no alarm notices uploads that do not start the function."
  type        = bool
  nullable    = false
}

variable "settings" {
  description = "Settings of the environment. The root module's variable environments explains each."
  type = object({
    architecture            = string
    memory_mb               = number
    timeout_seconds         = number
    reserved_concurrency    = number
    ingestion               = string
    maximum_concurrency     = number
    batch_size              = number
    batching_window_seconds = number
    log_retention_days      = number
    access_log_days         = number
    noncurrent_version_days = number
    archive_after_days      = number
    object_lock_days        = number
    private_network = object({
      availability_zones = list(string)
      cidr_block         = string
    })
    permissions_boundary = string
    stale_results        = string
    alarm_emails         = list(string)
    rejection_emails     = list(string)
    force_destroy        = bool
  })
  nullable = false

  validation {
    condition     = contains(["x86_64", "arm64"], var.settings.architecture)
    error_message = "${var.environment}: architecture is ${var.settings.architecture}. Use x86_64 or arm64."
  }

  validation {
    condition     = var.settings.memory_mb >= 128 && var.settings.memory_mb <= 10240 && floor(var.settings.memory_mb) == var.settings.memory_mb
    error_message = "${var.environment}: memory_mb is ${var.settings.memory_mb}. Use a whole number from 128 to 10240."
  }

  validation {
    condition     = var.settings.timeout_seconds >= 20 && var.settings.timeout_seconds <= 900 && floor(var.settings.timeout_seconds) == var.settings.timeout_seconds
    error_message = "${var.environment}: timeout_seconds is ${var.settings.timeout_seconds}. Use a whole number from 20 to 900: the function stops by itself 10 seconds earlier."
  }

  validation {
    condition     = var.settings.reserved_concurrency == null ? true : var.settings.reserved_concurrency >= 1 && floor(var.settings.reserved_concurrency) == var.settings.reserved_concurrency
    error_message = "${var.environment}: reserved_concurrency is ${jsonencode(var.settings.reserved_concurrency)}. Use a whole number from 1, or leave it out."
  }

  validation {
    condition     = contains(["direct", "queue"], var.settings.ingestion)
    error_message = "${var.environment}: ingestion is ${var.settings.ingestion}. Use direct or queue."
  }

  validation {
    condition     = var.settings.maximum_concurrency >= 2 && var.settings.maximum_concurrency <= 1000 && floor(var.settings.maximum_concurrency) == var.settings.maximum_concurrency
    error_message = "${var.environment}: maximum_concurrency is ${var.settings.maximum_concurrency}. Use a whole number from 2 to 1000."
  }

  validation {
    condition     = var.settings.batch_size >= 1 && var.settings.batch_size <= 10 && floor(var.settings.batch_size) == var.settings.batch_size
    error_message = "${var.environment}: batch_size is ${var.settings.batch_size}. Use a whole number from 1 to 10."
  }

  validation {
    condition     = var.settings.batching_window_seconds >= 0 && var.settings.batching_window_seconds <= 300 && floor(var.settings.batching_window_seconds) == var.settings.batching_window_seconds
    error_message = "${var.environment}: batching_window_seconds is ${var.settings.batching_window_seconds}. Use a whole number from 0 to 300."
  }

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.settings.log_retention_days,
    )
    error_message = "${var.environment}: log_retention_days is ${var.settings.log_retention_days}, which CloudWatch Logs does not offer. Use 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }

  validation {
    condition     = var.settings.access_log_days >= 1 && floor(var.settings.access_log_days) == var.settings.access_log_days
    error_message = "${var.environment}: access_log_days is ${var.settings.access_log_days}. Use a whole number from 1."
  }

  validation {
    condition     = var.settings.noncurrent_version_days >= 1 && floor(var.settings.noncurrent_version_days) == var.settings.noncurrent_version_days
    error_message = "${var.environment}: noncurrent_version_days is ${var.settings.noncurrent_version_days}. Use a whole number from 1."
  }

  validation {
    condition     = var.settings.archive_after_days == null ? true : var.settings.archive_after_days >= 1 && floor(var.settings.archive_after_days) == var.settings.archive_after_days
    error_message = "${var.environment}: archive_after_days is ${jsonencode(var.settings.archive_after_days)}. Use a whole number from 1, or leave it out."
  }

  validation {
    condition     = var.settings.object_lock_days == null ? true : var.settings.object_lock_days >= 1 && var.settings.object_lock_days <= 36500 && floor(var.settings.object_lock_days) == var.settings.object_lock_days
    error_message = "${var.environment}: object_lock_days is ${jsonencode(var.settings.object_lock_days)}. Use a whole number from 1 to 36500, or leave it out."
  }

  validation {
    condition     = var.settings.object_lock_days == null || !coalesce(var.settings.force_destroy, false)
    error_message = "${var.environment}: object_lock_days and force_destroy contradict each other, because locked versions cannot be deleted. Leave one of them out."
  }

  validation {
    condition     = var.settings.private_network == null ? true : length(distinct(var.settings.private_network.availability_zones)) == 2
    error_message = "${var.environment}: availability_zones of private_network are ${jsonencode(try(var.settings.private_network.availability_zones, null))}. Name two different zones of ${var.region}, such as ${var.region}a and ${var.region}b."
  }

  validation {
    condition     = alltrue([for zone in try(var.settings.private_network.availability_zones, []) : can(regex("^${var.region}[a-z]$", zone))])
    error_message = "${var.environment}: availability_zones of private_network are ${jsonencode(try(var.settings.private_network.availability_zones, null))}. Use zones of ${var.region}, such as ${var.region}a and ${var.region}b."
  }

  validation {
    condition = var.settings.private_network == null ? true : (
      # cidrnetmask takes IPv4 only. The first address of a range has no bit set beyond the mask.
      can(cidrnetmask(var.settings.private_network.cidr_block)) && try(
        cidrhost(var.settings.private_network.cidr_block, 0) == split("/", var.settings.private_network.cidr_block)[0] &&
        tonumber(split("/", var.settings.private_network.cidr_block)[1]) >= 16 &&
        tonumber(split("/", var.settings.private_network.cidr_block)[1]) <= 24, false
      )
    )
    error_message = "${var.environment}: cidr_block of private_network is ${jsonencode(try(var.settings.private_network.cidr_block, null))}. Use an IPv4 range from /16 to /24, written with its first address, for example 10.0.0.0/24."
  }

  validation {
    condition     = var.settings.permissions_boundary == null ? true : can(regex("^[A-Za-z0-9+=,.@_-]{1,128}$", var.settings.permissions_boundary))
    error_message = "${var.environment}: permissions_boundary is ${jsonencode(var.settings.permissions_boundary)}. Use the name of a policy, without its ARN or a path."
  }

  validation {
    condition     = contains(["keep", "remove"], var.settings.stale_results)
    error_message = "${var.environment}: stale_results is ${var.settings.stale_results}. Use keep or remove."
  }

  validation {
    condition     = alltrue([for address in var.settings.alarm_emails : can(regex("^[^@ ]+@[^@ ]+[.][^@ ]+$", address))])
    error_message = "${var.environment}: alarm_emails is ${jsonencode(var.settings.alarm_emails)}. Use e-mail addresses such as oncall@example.org."
  }

  validation {
    condition     = alltrue([for address in var.settings.rejection_emails : can(regex("^[^@ ]+@[^@ ]+[.][^@ ]+$", address))])
    error_message = "${var.environment}: rejection_emails is ${jsonencode(var.settings.rejection_emails)}. Use e-mail addresses such as sender@example.org."
  }
}
