variable "project_name" {
  description = "First part of every resource name. In the dev environment it is the whole prefix; other environments add their name."
  type        = string
  default     = "ikerian-data-pipeline"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.project_name))
    error_message = "project_name is not usable in a bucket name. Use 3 to 32 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen."
  }
}

variable "region" {
  description = "AWS region of every resource."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is not the name of an AWS region. Use a name such as us-east-1 or eu-central-1."
  }
}

variable "packages_dir" {
  description = "Folder of the function and layer packages, relative to the root module. ./deploy.sh build fills build/."
  type        = string
  default     = "build"
  nullable    = false
}

variable "environments" {
  description = <<-EOT
    The environments that this state holds, by name. Each gets a pipeline of its own.
    - architecture: processor of the function, x86_64 or arm64.
    - memory_mb: memory of the function in MiB; processor time grows with it.
    - timeout_seconds: time limit of one invocation.
    - log_retention_days: how long the function's log is kept.
    - noncurrent_version_days: how long overwritten and deleted objects stay recoverable.
    - force_destroy: whether terraform destroy may delete buckets that hold data. Default: only in dev.
  EOT
  type = map(object({
    architecture            = optional(string, "x86_64")
    memory_mb               = optional(number, 1024)
    timeout_seconds         = optional(number, 300)
    log_retention_days      = optional(number, 14)
    noncurrent_version_days = optional(number, 30)
    force_destroy           = optional(bool)
  }))
  default  = { dev = {} }
  nullable = false

  validation {
    condition     = length(var.environments) > 0
    error_message = "environments is empty. Name at least one, for example { dev = {} }."
  }

  validation {
    condition     = alltrue([for name in keys(var.environments) : can(regex("^[a-z][a-z0-9]{1,9}$", name))])
    error_message = "An environment's name is not usable in resource names. Use 2 to 10 lower-case letters and digits, starting with a letter."
  }

  validation {
    # The longest name is the processed bucket's: <project>-<environment>-processed-data-<8 characters>, 63 at most.
    condition     = alltrue([for name in keys(var.environments) : length("${var.project_name}-${name}") <= 39])
    error_message = "project_name and the environment's name are together too long for a bucket name. Shorten them to 38 characters in total."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : contains(["x86_64", "arm64"], e.architecture)])
    error_message = "architecture is unknown. Use x86_64 or arm64."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.memory_mb >= 128 && e.memory_mb <= 10240 && floor(e.memory_mb) == e.memory_mb])
    error_message = "memory_mb is outside of what Lambda offers. Use a whole number from 128 to 10240."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.timeout_seconds >= 1 && e.timeout_seconds <= 900 && floor(e.timeout_seconds) == e.timeout_seconds])
    error_message = "timeout_seconds is outside of what Lambda offers. Use a whole number from 1 to 900."
  }

  validation {
    condition = alltrue([for e in values(var.environments) : contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      e.log_retention_days,
    )])
    error_message = "log_retention_days is not a period that CloudWatch Logs offers. Use 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.noncurrent_version_days >= 1 && floor(e.noncurrent_version_days) == e.noncurrent_version_days])
    error_message = "noncurrent_version_days must be at least one day. Use a whole number from 1."
  }
}
