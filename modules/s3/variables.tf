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

variable "account_id" {
  description = "The only account whose principals may use the bucket, 12 digits."
  type        = string
  nullable    = false
}

variable "kms_key" {
  description = "Key that encrypts the objects, by its arn. Null: S3's own key, for a bucket of access logs, as S3 cannot deliver those under another."
  type = object({
    arn = string
  })
  default = null
}

variable "access_log" {
  description = <<-EOT
    Where S3 writes a line for each request. Null: nowhere.
    - bucket: name of the bucket for the lines.
    - prefix: what their keys start with.
  EOT
  type = object({
    bucket = string
    prefix = string
  })
  default = null
}

variable "access_log_sources" {
  description = "ARNs of the buckets whose access logs S3 may deliver to this one, by the prefix that each may use."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "lifecycle_days" {
  description = <<-EOT
    When objects move or go, in days. Null: never.
    - noncurrent: overwritten and deleted objects stay recoverable for so long.
    - archive: current objects of 128 KB and more move to Glacier Instant Retrieval after so long.
    - expire: current objects are deleted after so long.
  EOT
  type = object({
    noncurrent = number
    archive    = optional(number)
    expire     = optional(number)
  })
  nullable = false
}

variable "object_lock_days" {
  description = "Days in which nobody, administrators with a special permission apart, can delete a version. Null: no object lock. Set or unset later, Terraform replaces the bucket."
  type        = number
  default     = null
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
