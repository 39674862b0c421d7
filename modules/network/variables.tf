variable "name" {
  description = "Name of the network and its resources."
  type        = string
  nullable    = false
}

variable "region" {
  description = "AWS region of the network."
  type        = string
  nullable    = false
}

variable "availability_zones" {
  description = "Two availability zones of the region, one for each subnet."
  type        = list(string)
  nullable    = false
}

variable "cidr_block" {
  description = "IPv4 range of the network, /16 to /24. All instances of the function share its addresses."
  type        = string
  nullable    = false
}

variable "bucket_arns" {
  description = "ARNs of the only buckets that can be reached from the network."
  type        = list(string)
  nullable    = false
}

variable "role_permissions" {
  description = "Name of the policy that lets the function's role attach to the network. The network depends on it, so that it is destroyed after the network."
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of the network's resources."
  type        = map(string)
  default     = {}
  nullable    = false
}
