variable "project_name" {
  description = "First part of every resource name, the same as in the pipelines that will be deployed."
  type        = string
  default     = "ikerian-data-pipeline"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.project_name))
    error_message = "project_name is ${var.project_name}, which bucket names cannot contain. Use 3 to 32 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen."
  }

  validation {
    # <project>-tfstate-<12 digits>-<region>, 63 at most.
    condition     = length(var.project_name) + length(var.region) <= 41
    error_message = "project_name and region have ${length(var.project_name) + length(var.region)} characters together, too many for the state bucket's name. Shorten project_name, so that they have at most 41."
  }
}

variable "region" {
  description = "AWS region of the state bucket and of the pipelines."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is ${var.region}, which is not the name of an AWS region. Use a name such as us-east-1 or eu-central-1."
  }

  validation {
    condition     = !can(regex("^(cn|us-iso[a-z]*|eu-isoe|eusc)-", var.region))
    error_message = "region is ${var.region}, in a partition of AWS whose service principals do not end in amazonaws.com, as these policies require. Use a commercial region or one of us-gov."
  }
}

variable "environments" {
  description = "Names of the environments in this account. Each gets policies for people who upload, read and erase and, where GitHub deploys, two roles."
  type        = set(string)
  default     = ["dev"]
  nullable    = false

  validation {
    condition     = alltrue([for name in var.environments : can(regex("^[a-z][a-z0-9]{1,9}$", name))])
    error_message = "Resource names cannot contain one of these names of environments: ${join(", ", var.environments)}. Use 2 to 10 lower-case letters and digits, starting with a letter."
  }
}

variable "disposable_environments" {
  description = "Names of the environments whose data and key GitHub may delete, which destroying them requires. GitHub can deploy others but not destroy them."
  type        = set(string)
  default     = ["dev"]
  nullable    = false
}

variable "key_prefixes" {
  description = "For each environment: prefix of the keys that its uploader may write and its reader may read. By default every key."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for prefix in values(var.key_prefixes) : !can(regex("[*?$]", prefix)) && !startswith(prefix, "/")])
    error_message = "key_prefixes is ${jsonencode(var.key_prefixes)}. A prefix must not contain *, ? or $, which have a meaning in policies, nor start with a slash. Use the plain beginning of the keys, for example clinic-a/."
  }
}

variable "eraser_requires_mfa" {
  description = "Whether erasers can rewrite and erase files only in a session that was started with MFA. Only sessions of IAM users carry that fact: where people assume a role, put the condition into its trust policy."
  type        = bool
  default     = false
  nullable    = false
}

variable "github" {
  description = "The GitHub repository that deploys. Null: none, and no roles."
  type = object({
    # Repository as OWNER/NAME.
    repository = string
    # Exact beginnings of the subjects of its tokens. Null: repo:OWNER/NAME. Repositories created or renamed since
    # 2026-07-15 send repo:OWNER@ID/NAME@ID instead, with the numeric IDs of the owner and the repository.
    subject_prefixes = optional(list(string))
    # Branch that may be deployed.
    branch = optional(string, "main")
    # Whether to create the OIDC provider token.actions.githubusercontent.com. An account can have only one: use false
    # if it exists.
    create_oidc_provider = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.github == null ? true : can(regex("^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$", var.github.repository))
    error_message = "github.repository is ${jsonencode(try(var.github.repository, null))}. Use OWNER/NAME, for example acme/retina-pipeline."
  }

  validation {
    condition = alltrue([for prefix in try(coalesce(var.github.subject_prefixes), []) :
      can(regex("^repo:[^@:/]+(@[0-9]+)?/[^@:/]+(@[0-9]+)?$", prefix)) && replace(prefix, "/@[0-9]+/", "") == "repo:${var.github.repository}"
    ])
    error_message = "github.subject_prefixes is ${jsonencode(try(var.github.subject_prefixes, null))}, which has one of another repository or with a wildcard. Use repo:OWNER/NAME or repo:OWNER@ID/NAME@ID of github.repository."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9._/-]+$", try(var.github.branch, "main"))) && !startswith(try(var.github.branch, "main"), "refs/")
    error_message = "github.branch is ${jsonencode(try(var.github.branch, null))}. Use the plain name of a branch, for example main."
  }

  validation {
    condition     = try(length(var.github.subject_prefixes) > 0, true)
    error_message = "github.subject_prefixes is empty, so nobody could assume the roles. Leave it out for repo:OWNER/NAME."
  }
}
