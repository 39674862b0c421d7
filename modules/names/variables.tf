variable "project_name" {
  description = "First part of every resource name."
  type        = string
  nullable    = false
}

variable "environments" {
  description = "Names of the environments."
  type        = set(string)
  nullable    = false
}
