variable "role_name" {
  description = "Name of the function's execution role."
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

variable "log_group_arn" {
  description = "ARN of the function's log group, without the trailing :*."
  type        = string
  nullable    = false
}

variable "dead_letter_queue_arn" {
  description = "ARN of the queue that Lambda sends failed events to, with this role."
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of the role."
  type        = map(string)
  default     = {}
  nullable    = false
}
