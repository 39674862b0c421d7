variable "names" {
  description = <<-EOT
    Names of the queues.
    - ingestion: receives notifications of uploads, and events that are sent again by hand.
    - dead_letter: receives what could not be processed.
  EOT
  type = object({
    ingestion   = string
    dead_letter = string
  })
  nullable = false
}

variable "arn_prefix" {
  description = "What comes before a queue's name in its ARN, so that policies are readable in a plan."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account that owns the queues and the bucket, 12 digits."
  type        = string
  nullable    = false
}

variable "source_bucket_arn" {
  description = "ARN of the bucket that may send notifications to the ingestion queue."
  type        = string
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the messages."
  type        = string
  nullable    = false
}

variable "visibility_timeout_seconds" {
  description = "How long a received message stays hidden before it is delivered again."
  type        = number
  nullable    = false
}

variable "tags" {
  description = "Tags of the queues."
  type        = map(string)
  default     = {}
  nullable    = false
}
