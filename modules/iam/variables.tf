variable "role_name" {
  description = "Name of the function's execution role."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the services that may use the key on the role's behalf."
  type        = string
  nullable    = false
}

variable "function_arn" {
  description = "ARN of the function, without a version."
  type        = string
  nullable    = false
}

variable "raw_bucket_arn" {
  description = "ARN of the bucket that the function reads."
  type        = string
  nullable    = false
}

variable "processed_bucket_arn" {
  description = "ARN of the bucket that the function writes."
  type        = string
  nullable    = false
}

variable "rejected_bucket_arn" {
  description = "ARN of the bucket that the function writes verdicts to."
  type        = string
  nullable    = false
}

variable "removes_results" {
  description = "Whether the function removes results of files that are rejected or deleted."
  type        = bool
  nullable    = false
}

variable "log_group_arn" {
  description = "ARN of the function's log group, without the trailing :*."
  type        = string
  nullable    = false
}

variable "queue_arns" {
  description = <<-EOT
    ARNs of the queues.
    - ingestion: Lambda takes messages out of it with this role.
    - dead_letter: Lambda sends failed events to it with this role.
  EOT
  type = object({
    ingestion   = string
    dead_letter = string
  })
  nullable = false
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts buckets and queues."
  type        = string
  nullable    = false
}

variable "private_network" {
  description = "Whether the function runs in a private network, which Lambda attaches with this role."
  type        = bool
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds the role, whatever permissions it is given. Null: none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the role."
  type        = map(string)
  default     = {}
  nullable    = false
}
