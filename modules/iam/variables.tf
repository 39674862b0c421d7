variable "role_name" {
  description = "Name of the function's execution role."
  type        = string
  nullable    = false
}

variable "region" {
  description = "AWS region of the services that may use the key on the role's behalf."
  type        = string
  nullable    = false
}

variable "function_arn" {
  description = "ARN of the function, without a version or alias."
  type        = string
  nullable    = false
}

variable "raw_bucket_arn" {
  description = "ARN of the bucket that the function reads uploads from."
  type        = string
  nullable    = false
}

variable "processed_bucket_arn" {
  description = "ARN of the bucket that the function writes results to."
  type        = string
  nullable    = false
}

variable "rejected_bucket_arn" {
  description = "ARN of the bucket that the function writes verdicts to."
  type        = string
  nullable    = false
}

variable "removes_results" {
  description = "Whether the function removes the results of files that are rejected or deleted."
  type        = bool
  nullable    = false
}

variable "log_group_arn" {
  description = "ARN of the function's log group, without the trailing :*."
  type        = string
  nullable    = false
}

variable "queue_arns" {
  description = "ARNs of the queues."
  type = object({
    # Queue that Lambda receives messages from as this role.
    ingestion = string
    # Queue that Lambda sends failed events to as this role.
    dead_letter = string
  })
  nullable = false
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the buckets, the queues and the function's environment variables."
  type        = string
  nullable    = false
}

variable "private_network" {
  description = "Whether the function runs in a private network, which Lambda attaches it to as this role."
  type        = bool
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that is the role's permissions boundary. Null: none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the role."
  type        = map(string)
  default     = {}
  nullable    = false
}
