variable "name" {
  description = "Name of the layer."
  type        = string
  nullable    = false
}

variable "package" {
  description = "Path of the layer's zip file, as ./deploy.sh build makes it."
  type        = string
  nullable    = false
}

variable "architecture" {
  description = "Processor that the packages in the layer are built for: x86_64 or arm64."
  type        = string
  nullable    = false
}
