variable "arn" {
  description = "ARN of the topic, built from its name, so that a plan shows its policy in full."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "AWS account of the topic and of the resources that publish to it, 12 digits."
  type        = string
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the topic."
  type        = string
  nullable    = false
}

variable "publisher" {
  description = "Who may publish to the topic."
  type = object({
    # What it publishes, for the statement ID in the policy, such as Alarms.
    name = string
    # Service principal that publishes, such as cloudwatch.amazonaws.com.
    service = string
    # ARNs of the resources that it publishes for.
    arns = list(string)
  })
  nullable = false
}

variable "emails" {
  description = "E-mail addresses that messages are sent to. AWS asks each to confirm once."
  type        = list(string)
  nullable    = false
}

variable "tags" {
  description = "Tags of the topic."
  type        = map(string)
  default     = {}
  nullable    = false
}
