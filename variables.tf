variable "project_name" {
  description = "First part of every resource name. Environments other than dev append their own name to it."
  type        = string
  default     = "ikerian-data-pipeline"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.project_name))
    error_message = "project_name is ${var.project_name}, which bucket names cannot contain. Use 3 to 32 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen."
  }
}

variable "region" {
  description = "AWS region of every resource."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is ${var.region}, which is not the name of an AWS region. Use a name such as us-east-1 or eu-central-1."
  }

  validation {
    condition     = !can(regex("^(cn|us-iso[a-z]*|eu-isoe|eusc)-", var.region))
    error_message = "region is ${var.region}, in a partition of AWS whose service principals do not end in amazonaws.com, as these policies require. Use a commercial region or one of us-gov."
  }
}

variable "packages_dir" {
  description = "Folder of the function and layer packages, relative to the root module. ./deploy.sh build creates them in build/."
  type        = string
  default     = "build"
  nullable    = false
}

variable "saved_queries" {
  description = "Whether to save CloudWatch Logs queries for rejected and for slow files. The local AWS cannot save any."
  type        = bool
  default     = true
  nullable    = false
}

variable "request_metrics" {
  description = "Whether S3 counts the raw bucket's requests. If not, no alarm notices uploads that do not start the function. The local AWS cannot count them."
  type        = bool
  default     = true
  nullable    = false
}

variable "environments" {
  description = "The environments of this state, by name. Each gets a pipeline of its own."
  type = map(object({
    # AWS account of the environment, 12 digits; credentials of any other account are refused. Null: any account.
    account_id = optional(string)
    # Processor of the function: x86_64 or arm64.
    architecture = optional(string, "x86_64")
    # Memory of the function in MiB, 128 to 10240. Lambda allots processor time in proportion to it.
    memory_mb = optional(number, 1024)
    # Time limit of one invocation in seconds, 20 to 900.
    timeout_seconds = optional(number, 300)
    # Concurrent invocations reserved for the function, which no other function of the account can then use. Lambda
    # keeps 10 unreserved, so a new account may have none to reserve. Null: no limit but the account's.
    reserved_concurrency = optional(number)
    # How uploads reach the function: direct (S3 invokes it) or queue (through an SQS queue, which absorbs any burst).
    ingestion = optional(string, "direct")
    # Concurrent invocations that the queue may start, 2 to 1000.
    maximum_concurrency = optional(number, 10)
    # Most files that one invocation takes from the queue, 1 to 10; all must be processed within timeout_seconds.
    batch_size = optional(number, 10)
    # Longest time in seconds for which messages are gathered before the function is invoked, 0 to 300.
    batching_window_seconds = optional(number, 0)
    # Days for which the function's log is kept: one of the periods that CloudWatch Logs offers.
    log_retention_days = optional(number, 14)
    # Days for which the buckets' access logs are kept.
    access_log_days = optional(number, 90)
    # Days for which overwritten and deleted objects can be recovered.
    noncurrent_version_days = optional(number, 30)
    # Days after which raw objects of 128 KB or more move to cheaper storage. Null: never.
    archive_after_days = optional(number)
    # Days for which no version can be deleted, 1 to 36500. Null: no lock; setting or unsetting it replaces the buckets.
    object_lock_days = optional(number)
    # A network of the function's own, with no route to the internet. Null: none.
    private_network = optional(object({
      # Two availability zones of the region.
      availability_zones = list(string)
      # IPv4 range of the network, /16 to /24.
      cidr_block = optional(string, "10.0.0.0/24")
    }))
    # Name of the policy that is the role's permissions boundary; bootstrap creates one for GitHub. Null: none.
    permissions_boundary = optional(string)
    # What happens to the result of an older version when the newest one is rejected or deleted: keep or remove.
    stale_results = optional(string, "keep")
    # E-mail addresses that alarms are sent to.
    alarm_emails = optional(list(string), [])
    # E-mail addresses that are notified of each rejected file.
    rejection_emails = optional(list(string), [])
    # Whether terraform destroy may delete buckets that hold objects. Null: only in dev, and only without object lock.
    force_destroy = optional(bool)
  }))
  default  = { dev = {} }
  nullable = false

  # The settings of each environment are validated in modules/pipeline, where a message can name the environment.

  validation {
    condition     = length(var.environments) > 0
    error_message = "environments is empty. Name at least one, for example { dev = {} }."
  }

  validation {
    condition     = alltrue([for e in values(var.environments) : e.account_id == null ? true : can(regex("^[0-9]{12}$", e.account_id))])
    error_message = "An account_id is not an AWS account: ${jsonencode({ for name, e in var.environments : name => e.account_id })}. Use its 12 digits in quotes, or leave it out."
  }

  validation {
    condition     = length(distinct(compact([for e in values(var.environments) : e.account_id]))) < 2
    error_message = "The environments of one state belong to different accounts: ${jsonencode({ for name, e in var.environments : name => e.account_id })}. Give each account a file of its own in env/."
  }
}
