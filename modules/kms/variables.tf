variable "alias" {
  description = "Name of the key, without the leading alias/."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account that owns the key and everything encrypted with it, 12 digits."
  type        = string
  nullable    = false
}

variable "partition" {
  description = "AWS partition, for ARNs."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the key."
  type        = string
  nullable    = false
}

variable "deletion_window_days" {
  description = "Days in which the deletion of the key can be taken back, 7 to 30."
  type        = number
  nullable    = false
}

variable "log_group_arns" {
  description = "ARNs of the log groups that CloudWatch Logs encrypts with the key, without the trailing :*."
  type        = list(string)
  nullable    = false
}

variable "notifying_bucket_arns" {
  description = "ARNs of the buckets whose notifications S3 sends to an encrypted queue or topic."
  type        = list(string)
  nullable    = false
}

variable "alarm_topic_arn" {
  description = "ARN of the encrypted topic that CloudWatch sends alarms to."
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of the key."
  type        = map(string)
  default     = {}
  nullable    = false
}
