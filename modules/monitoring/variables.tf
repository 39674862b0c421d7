variable "name" {
  description = "First part of the names of topic, alarms, dashboard and queries."
  type        = string
  nullable    = false
}

variable "environment" {
  description = "Name of the environment, for the commands in the alarms' descriptions."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account of the alarms, 12 digits."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region that the dashboard shows."
  type        = string
  nullable    = false
}

variable "topic_arn" {
  description = "ARN of the topic, built from its name, so that its policy is readable in a plan."
  type        = string
  nullable    = false
}

variable "alarm_arns" {
  description = "ARNs of the alarms, which may publish to the topic, built from their names, so that its policy is readable in a plan."
  type        = list(string)
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the topic."
  type        = string
  nullable    = false
}

variable "watched" {
  description = <<-EOT
    What is watched.
    - function_name, timeout_seconds: the function and its time limit.
    - log_group_name: its log.
    - metrics_namespace: namespace of the metrics that it writes, with its name as the service.
    - raw_bucket: bucket that uploads go to.
    - ingestion_queue, dead_letter_queue: names of the queues.
    - oldest_message_seconds: age of a message in the ingestion queue that is too much.
    - redelivery_seconds: how long a message that failed stays away before the queue hands it over again.
    - most_at_once: invocations at once that are allowed. Null: as many as the account allows.
  EOT
  type = object({
    function_name          = string
    timeout_seconds        = number
    log_group_name         = string
    metrics_namespace      = string
    raw_bucket             = string
    ingestion_queue        = string
    dead_letter_queue      = string
    oldest_message_seconds = number
    redelivery_seconds     = number
    most_at_once           = number
  })
  nullable = false
}

variable "alarm_emails" {
  description = "Addresses that alarms are sent to; each has to confirm once."
  type        = list(string)
  nullable    = false
}

variable "saved_queries" {
  description = "Whether to save the log queries."
  type        = bool
  nullable    = false
}

variable "request_metrics" {
  description = "Whether S3 counts the raw bucket's requests, without which nobody notices uploads that start nothing."
  type        = bool
  nullable    = false
}

variable "tags" {
  description = "Tags of topic and alarms."
  type        = map(string)
  default     = {}
  nullable    = false
}
