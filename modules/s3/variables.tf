variable "name" {
  description = "Name of the bucket."
  type        = string
  nullable    = false
}

variable "arn" {
  description = "ARN of the bucket, built from its name, so that a plan shows its policy in full."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "The only AWS account whose principals may use the bucket, 12 digits."
  type        = string
  nullable    = false
}

variable "kms_key" {
  description = "KMS key that encrypts the objects. Null: S3's own key, the only one under which S3 delivers access logs."
  type = object({
    # ARN of the key.
    arn = string
  })
  default = null
}

variable "access_log" {
  description = "Where S3 delivers the bucket's access log. Null: nowhere."
  type = object({
    # Name of the bucket that receives the log.
    bucket = string
    # Prefix of the log's keys.
    prefix = string
  })
  default = null
}

variable "access_log_sources" {
  description = "ARNs of the buckets whose access logs S3 may deliver to this one, by the prefix of each, without the slash."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "lifecycle_days" {
  description = "When objects are moved or deleted, in days."
  type = object({
    # Days for which overwritten and deleted objects can be recovered.
    noncurrent = number
    # Days after which current objects of 128 KB or more move to Glacier Instant Retrieval. Null: never.
    archive = optional(number)
    # Days after which current objects are deleted. Null: never.
    expire = optional(number)
  })
  nullable = false
}

variable "object_lock_days" {
  description = "Days for which a version can be deleted only with s3:BypassGovernanceRetention. Null: no object lock. Changing to or from null replaces the bucket."
  type        = number
  default     = null
}

variable "force_destroy" {
  description = "Whether terraform destroy may delete the bucket while it holds objects."
  type        = bool
  nullable    = false
}

variable "tags" {
  description = "Tags of the bucket."
  type        = map(string)
  default     = {}
  nullable    = false
}
