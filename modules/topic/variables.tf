variable "arn" {
  description = "ARN of the topic, built from its name, so that its policy is readable in a plan."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account of the topic and of whatever publishes to it, 12 digits."
  type        = string
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the topic."
  type        = string
  nullable    = false
}

variable "publisher" {
  description = <<-EOT
    Who may publish to the topic.
    - name: what it publishes, for the policy.
    - service: the service of AWS that publishes.
    - arns: ARNs of the resources that it publishes for.
  EOT
  type = object({
    name    = string
    service = string
    arns    = list(string)
  })
  nullable = false
}

variable "emails" {
  description = "Addresses that the messages are sent to; each has to confirm once."
  type        = list(string)
  nullable    = false
}

variable "tags" {
  description = "Tags of the topic."
  type        = map(string)
  default     = {}
  nullable    = false
}
