variable "name" {
  description = "Name of the network and its parts."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the network."
  type        = string
  nullable    = false
}

variable "availability_zones" {
  description = "Two zones of the region, one for each subnet."
  type        = list(string)
  nullable    = false
}

variable "cidr_block" {
  description = "Addresses of the network, /16 to /24. The function's instances share them."
  type        = string
  nullable    = false
}

variable "bucket_arns" {
  description = "ARNs of the only buckets that can be reached from the network."
  type        = list(string)
  nullable    = false
}

variable "role_permissions" {
  description = "Whatever exists once the function's role may attach to the network. It is destroyed after the network."
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of the network's parts."
  type        = map(string)
  default     = {}
  nullable    = false
}
