variable "name" {
  description = "Name of the function."
  type        = string
  nullable    = false
}

variable "log_group_name" {
  description = "Name of the function's CloudWatch log group."
  type        = string
  nullable    = false
}

variable "package" {
  description = "Path of the function's zip file, which ./deploy.sh build creates."
  type        = string
  nullable    = false
}

variable "role_arn" {
  description = "ARN of the function's execution role."
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
  description = "ARN of the KMS key that encrypts the environment variables and the log."
  type        = string
  nullable    = false
}

variable "network" {
  description = "Private network that the function runs in. Null: none."
  type = object({
    # IDs of the subnets that the function runs in.
    subnet_ids = list(string)
    # IDs of the security groups that limit its connections.
    security_group_ids = list(string)
  })
  default = null
}

variable "failure_queue_arn" {
  description = "ARN of the queue that receives events whose retries are exhausted."
  type        = string
  nullable    = false
}

variable "settings" {
  description = "Size and limits of the function."
  type = object({
    # Processor: x86_64 or arm64.
    architecture = string
    # Memory in MiB.
    memory_mb = number
    # Time limit of one invocation in seconds.
    timeout_seconds = number
    # Days for which the log is kept.
    log_retention_days = number
    # Concurrent invocations reserved for the function. Null: no limit but the account's.
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
