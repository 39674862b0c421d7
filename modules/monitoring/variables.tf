variable "name" {
  description = "First part of the names of the alarms, the dashboard and the saved queries."
  type        = string
  nullable    = false
}

variable "environment" {
  description = "Name of the environment, for the commands in the alarms' descriptions."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "AWS account of the alarms, 12 digits."
  type        = string
  nullable    = false
}

variable "region" {
  description = "AWS region whose metrics the dashboard shows."
  type        = string
  nullable    = false
}

variable "topic_arn" {
  description = "ARN of the topic, built from its name, so that a plan shows its policy in full."
  type        = string
  nullable    = false
}

variable "alarm_arns" {
  description = "ARNs of the alarms, which may publish to the topic, built from their names, so that a plan shows its policy in full."
  type        = list(string)
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the topic."
  type        = string
  nullable    = false
}

variable "watched" {
  description = "Resources that the alarms and the dashboard watch, and their limits."
  type = object({
    # Name of the function, which is also the service dimension of the metrics that it writes.
    function_name = string
    # Time limit of one invocation in seconds.
    timeout_seconds = number
    # Name of the function's CloudWatch log group.
    log_group_name = string
    # CloudWatch namespace of the metrics that the function writes.
    metrics_namespace = string
    # Name of the bucket that uploads go to.
    raw_bucket = string
    # Name of the ingestion queue.
    ingestion_queue = string
    # Name of the dead-letter queue.
    dead_letter_queue = string
    # Age in seconds from which a message in the ingestion queue raises an alarm.
    oldest_message_seconds = number
    # Seconds after which the queue redelivers a message that failed.
    redelivery_seconds = number
    # Limit of concurrent invocations. Null: the account's.
    most_at_once = number
  })
  nullable = false
}

variable "alarm_emails" {
  description = "E-mail addresses that alarms are sent to. AWS asks each to confirm once."
  type        = list(string)
  nullable    = false
}

variable "saved_queries" {
  description = "Whether to save the CloudWatch Logs queries."
  type        = bool
  nullable    = false
}

variable "request_metrics" {
  description = "Whether S3 counts the raw bucket's requests. If not, no alarm notices uploads that do not start the function."
  type        = bool
  nullable    = false
}

variable "tags" {
  description = "Tags of the topic and the alarms."
  type        = map(string)
  default     = {}
  nullable    = false
}
