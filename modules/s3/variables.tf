variable "name" {
  description = "Name of the bucket."
  type        = string
  nullable    = false
}

variable "arn" {
  description = "ARN of the bucket, built from its name, so that its policy is readable in a plan."
  type        = string
  nullable    = false
}

variable "noncurrent_version_days" {
  description = "Days that overwritten and deleted objects stay recoverable."
  type        = number
  nullable    = false
}

variable "force_destroy" {
  description = "Whether destroy may delete the bucket while it holds objects."
  type        = bool
  nullable    = false
}

variable "tags" {
  description = "Tags of the bucket."
  type        = map(string)
  default     = {}
  nullable    = false
}
