variable "name" {
  description = "Name of the layer."
  type        = string
  nullable    = false
}

variable "package" {
  description = "Path of the layer's zip file, which ./deploy.sh build creates."
  type        = string
  nullable    = false
}

variable "architecture" {
  description = "Processor that the layer's packages are built for: x86_64 or arm64."
  type        = string
  nullable    = false
}
