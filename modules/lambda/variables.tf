variable "name" {
  description = "Name of the function."
  type        = string
  nullable    = false
}

variable "log_group_name" {
  description = "Name of the function's log group."
  type        = string
  nullable    = false
}

variable "package" {
  description = "Path of the function's zip file, as ./deploy.sh build makes it."
  type        = string
  nullable    = false
}

variable "role_arn" {
  description = "ARN of the execution role."
  type        = string
  nullable    = false
}

variable "layer_arns" {
  description = "ARNs of the layer versions that hold the function's packages."
  type        = list(string)
  nullable    = false
}

variable "environment_variables" {
  description = "The function's environment variables."
  type        = map(string)
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the environment variables and the log."
  type        = string
  nullable    = false
}

variable "network" {
  description = <<-EOT
    The private network that the function runs in. Null: none.
    - subnet_ids: its subnets.
    - security_group_ids: what it may connect to.
  EOT
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null
}

variable "failure_queue_arn" {
  description = "ARN of the queue that receives events whose retries are used up."
  type        = string
  nullable    = false
}

variable "settings" {
  description = <<-EOT
    The function's size and log.
    - architecture: x86_64 or arm64.
    - memory_mb: memory in MiB.
    - timeout_seconds: time limit of one invocation.
    - log_retention_days: how long the log is kept.
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

variable "tags" {
  description = "Tags of the function and its log group."
  type        = map(string)
  default     = {}
  nullable    = false
}
