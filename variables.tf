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

  validation {
    condition     = !can(regex("^(cn|us-iso[a-z]*|eu-isoe|eusc)-", var.region))
    error_message = "region belongs to a partition of AWS whose service names do not end in amazonaws.com, as the policies here have it. Use a region of the commercial partition or of us-gov-."
  }
}

variable "packages_dir" {
  description = "Folder of the function and layer packages, relative to the root module. ./deploy.sh build fills build/."
  type        = string
  default     = "build"
  nullable    = false
}

variable "saved_queries" {
  description = "Whether to save the log queries for rejected and for slow files. The local AWS cannot."
  type        = bool
  default     = true
  nullable    = false
}

variable "request_metrics" {
  description = "Whether S3 counts the raw bucket's requests, without which nobody notices uploads that start nothing. The local AWS cannot."
  type        = bool
  default     = true
  nullable    = false
}

variable "environments" {
  description = <<-EOT
    The environments that this state holds, by name. Each gets a pipeline of its own.
    - account_id: the AWS account it belongs to, 12 digits; any other is refused. Null: any.
    - architecture: processor of the function, x86_64 or arm64.
    - memory_mb: memory of the function in MiB; processor time grows with it.
    - timeout_seconds: time limit of one invocation.
    - reserved_concurrency: invocations at once, taken out of the account's pool, of which Lambda keeps 10 for other
      functions: a new account may have no more. Null: no limit but the account's.
    - ingestion: direct, S3 invokes the function, or queue, a queue in between takes any burst.
    - maximum_concurrency: invocations at once that the queue feeds.
    - batch_size: files at most that one invocation gets from the queue; all of them have to be done in timeout_seconds.
    - batching_window_seconds: how long the queue's messages are gathered before an invocation.
    - log_retention_days: how long the function's log is kept.
    - access_log_days: how long the buckets' access logs are kept.
    - noncurrent_version_days: how long overwritten and deleted objects stay recoverable.
    - archive_after_days: when raw objects of 128 KB and more move to cheaper storage. Null: never.
    - object_lock_days: how long nobody can delete a version. Set or unset later, Terraform replaces the buckets. Null: no lock.
    - private_network: a network of the function's own without a way to the internet: two availability_zones, and its cidr_block. Null: none.
    - permissions_boundary: name of the policy that bounds the function's role. bootstrap makes one where GitHub deploys. Null: none.
    - stale_results: keep or remove the result of an older version when the newest one is rejected or deleted.
    - alarm_emails: addresses that alarms are sent to.
    - rejection_emails: addresses that are told of each rejected file.
    - force_destroy: whether terraform destroy may delete buckets that hold data. Default: only in dev.
  EOT
  type = map(object({
    account_id              = optional(string)
    architecture            = optional(string, "x86_64")
    memory_mb               = optional(number, 1024)
    timeout_seconds         = optional(number, 300)
    reserved_concurrency    = optional(number)
    ingestion               = optional(string, "direct")
    maximum_concurrency     = optional(number, 10)
    batch_size              = optional(number, 10)
    batching_window_seconds = optional(number, 0)
    log_retention_days      = optional(number, 14)
    access_log_days         = optional(number, 90)
    noncurrent_version_days = optional(number, 30)
    archive_after_days      = optional(number)
    object_lock_days        = optional(number)
    private_network = optional(object({
      availability_zones = list(string)
      cidr_block         = optional(string, "10.0.0.0/24")
    }))
    permissions_boundary = optional(string)
    stale_results        = optional(string, "keep")
    alarm_emails         = optional(list(string), [])
    rejection_emails     = optional(list(string), [])
    force_destroy        = optional(bool)
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
    condition     = alltrue([for e in values(var.environments) : e.account_id == null ? true : can(regex("^[0-9]{12}$", e.account_id))])
    error_message = "account_id is not an AWS account. Use its 12 digits in quotes, or leave it out."
  }

  validation {
    condition     = length(distinct(compact([for e in values(var.environments) : e.account_id]))) < 2
    error_message = "environments of one state belong to different accounts. Give each account a file in env/ of its own."
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
    condition     = alltrue([for e in values(var.environments) : e.timeout_seconds >= 20 && e.timeout_seconds <= 900 && floor(e.timeout_seconds) == e.timeout_seconds])
    error_message = "timeout_seconds leaves no time to work, as the function stops by itself 10 seconds before, or is more than Lambda offers. Use a whole number from 20 to 900."
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

  validation {
    condition     = alltrue([for e in values(var.environments) : contains(["direct", "queue"], e.ingestion)])
    error_message = "ingestion is unknown. Use direct or queue."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.maximum_concurrency >= 2 && e.maximum_concurrency <= 1000 && floor(e.maximum_concurrency) == e.maximum_concurrency])
    error_message = "maximum_concurrency is outside of what an event source mapping offers. Use a whole number from 2 to 1000."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.batch_size >= 1 && e.batch_size <= 10 && floor(e.batch_size) == e.batch_size])
    error_message = "batch_size is outside of what suits files. Use a whole number from 1 to 10."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.batching_window_seconds >= 0 && e.batching_window_seconds <= 300 && floor(e.batching_window_seconds) == e.batching_window_seconds])
    error_message = "batching_window_seconds is outside of what an event source mapping offers. Use a whole number from 0 to 300."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.reserved_concurrency == null ? true : e.reserved_concurrency >= 1 && floor(e.reserved_concurrency) == e.reserved_concurrency])
    error_message = "reserved_concurrency would stop the function. Use a whole number from 1, or leave it out."
  }

  validation {
    condition = alltrue(flatten([for e in values(var.environments) : [
      for days in [e.access_log_days, e.archive_after_days, e.object_lock_days] : days == null ? true : days >= 1 && floor(days) == days
    ]]))
    error_message = "A period in days must be at least one day. Use a whole number from 1, or leave it out."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : coalesce(e.object_lock_days, 1) <= 36500])
    error_message = "object_lock_days is longer than S3 can promise. Use at most 36500, which is a hundred years."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.permissions_boundary == null ? true : can(regex("^[A-Za-z0-9+=,.@_-]{1,128}$", e.permissions_boundary))])
    error_message = "permissions_boundary is not the name of a policy. Use the plain name, without arn: and without a path."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.object_lock_days == null || !coalesce(e.force_destroy, false)])
    error_message = "object_lock_days and force_destroy contradict each other: locked versions cannot be destroyed. Leave one of them out."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : contains(["keep", "remove"], e.stale_results)])
    error_message = "stale_results is unknown. Use keep or remove."
  }

  validation {
    condition     = alltrue(flatten([for e in values(var.environments) : [for address in e.alarm_emails : can(regex("^[^@ ]+@[^@ ]+[.][^@ ]+$", address))]]))
    error_message = "alarm_emails holds something that is no e-mail address. Use addresses such as oncall@example.org."
  }

  validation {
    condition     = alltrue(flatten([for e in values(var.environments) : [for address in e.rejection_emails : can(regex("^[^@ ]+@[^@ ]+[.][^@ ]+$", address))]]))
    error_message = "rejection_emails holds something that is no e-mail address. Use addresses such as sender@example.org."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.private_network == null ? true : length(distinct(e.private_network.availability_zones)) == 2])
    error_message = "A private network needs two different zones. Name them, for example availability_zones = [\"us-east-1a\", \"us-east-1b\"]."
  }

  validation {
    condition     = alltrue(flatten([for e in values(var.environments) : [for zone in try(e.private_network.availability_zones, []) : can(regex("^${var.region}[a-z]$", zone))]]))
    error_message = "availability_zones are not zones of region. Use zones such as \"us-east-1a\" for us-east-1."
  }

  validation {
    condition = alltrue([for e in values(var.environments) : e.private_network == null ? true :
      # Only of IPv4 there is a mask; the first address has no bit set beyond it.
      can(cidrnetmask(e.private_network.cidr_block)) && try(
        cidrhost(e.private_network.cidr_block, 0) == split("/", e.private_network.cidr_block)[0] &&
        tonumber(split("/", e.private_network.cidr_block)[1]) >= 16 && tonumber(split("/", e.private_network.cidr_block)[1]) <= 24, false
      )
    ])
    error_message = "cidr_block is not a range that a network can have. Use one of IPv4 from /16 to /24, named by its first address, for example 10.0.0.0/24."
  }
}
