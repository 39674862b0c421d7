variable "alias" {
  description = "Alias of the key, without the leading alias/."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "AWS account that owns the key and everything encrypted with it, 12 digits."
  type        = string
  nullable    = false
}

variable "partition" {
  description = "AWS partition in the ARNs, such as aws."
  type        = string
  nullable    = false
}

variable "region" {
  description = "AWS region of the key."
  type        = string
  nullable    = false
}

variable "deletion_window_days" {
  description = "Days for which a scheduled deletion of the key can be cancelled, 7 to 30."
  type        = number
  nullable    = false
}

variable "log_group_arns" {
  description = "ARNs of the log groups that CloudWatch Logs may encrypt with the key, without the trailing :*."
  type        = list(string)
  nullable    = false
}

variable "notifying_bucket_arns" {
  description = "ARNs of the buckets whose notifications S3 may send to a queue or topic that the key encrypts."
  type        = list(string)
  nullable    = false
}

variable "alarm_topic_arn" {
  description = "ARN of the topic for which CloudWatch may encrypt alarms with the key."
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of the key."
  type        = map(string)
  default     = {}
  nullable    = false
}
