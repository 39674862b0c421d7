variable "names" {
  description = "Names of the queues."
  type = object({
    # Queue that receives notifications of uploads, and redriven events.
    ingestion = string
    # Queue that keeps the events that could not be processed.
    dead_letter = string
  })
  nullable = false
}

variable "arn_prefix" {
  description = "Part of the queues' ARNs before their names, so that a plan shows their policies in full."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "AWS account that owns the queues and the bucket, 12 digits."
  type        = string
  nullable    = false
}

variable "source_bucket_arn" {
  description = "ARN of the bucket that may send notifications to the ingestion queue."
  type        = string
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the messages."
  type        = string
  nullable    = false
}

variable "visibility_timeout_seconds" {
  description = "Seconds for which a received message stays hidden before it is redelivered."
  type        = number
  nullable    = false
}

variable "tags" {
  description = "Tags of the queues."
  type        = map(string)
  default     = {}
  nullable    = false
}
