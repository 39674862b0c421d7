variable "project_name" {
  description = "First part of every resource name, as in the pipelines that will be deployed."
  type        = string
  default     = "ikerian-data-pipeline"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.project_name))
    error_message = "project_name is not usable in a bucket name. Use 3 to 32 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen."
  }

  validation {
    # <project>-tfstate-<12 digits>-<region>, 63 at most.
    condition     = length(var.project_name) + length(var.region) <= 41
    error_message = "project_name and region are together too long for the state bucket's name. Shorten project_name so that both have at most 41 characters."
  }
}

variable "region" {
  description = "AWS region of the state bucket and of the pipelines."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is not the name of an AWS region. Use a name such as us-east-1 or eu-central-1."
  }

  validation {
    condition     = !can(regex("^(cn|us-iso[a-z]*|eu-isoe|eusc)-", var.region))
    error_message = "region belongs to a partition of AWS whose service names do not end in amazonaws.com, as the policies here have it. Use a region of the commercial partition or of us-gov-."
  }
}

variable "environments" {
  description = "Environments of this account. Each gets policies for who uploads, reads and erases and, where GitHub deploys, two roles."
  type        = set(string)
  default     = ["dev"]
  nullable    = false

  validation {
    condition     = alltrue([for name in var.environments : can(regex("^[a-z][a-z0-9]{1,9}$", name))])
    error_message = "An environment's name is not usable in resource names. Use 2 to 10 lower-case letters and digits, starting with a letter."
  }
}

variable "disposable_environments" {
  description = "Environments whose data and key GitHub may delete, as destroying them needs. Others can be deployed but not destroyed from GitHub."
  type        = set(string)
  default     = ["dev"]
  nullable    = false
}

variable "key_prefixes" {
  description = "Per environment: the beginning of the keys that its uploader may write and its reader may read. Default: every key."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for prefix in values(var.key_prefixes) : !can(regex("[*?$]", prefix)) && !startswith(prefix, "/")])
    error_message = "A prefix in key_prefixes holds *, ? or $, which policies take for a pattern, or starts with a slash, as no key should. Use the plain beginning of the keys, for example clinic-a/."
  }
}

variable "eraser_requires_mfa" {
  description = "Whether erasers rewrite and erase only in a session that was begun with MFA. AWS knows that of IAM users alone: where people take on a role, put the condition into the role's trust policy."
  type        = bool
  default     = false
  nullable    = false
}

variable "github" {
  description = <<-EOT
    The GitHub repository that deploys. Null: none, and no roles.
    - repository: OWNER/NAME.
    - subject_prefixes: what the subjects of its tokens may start with, exactly. Default: repo:OWNER/NAME. Repositories
      created or renamed since 2026-07-15 send repo:OWNER@ID/NAME@ID instead: name that, with the numbers of the
      owner and of the repository.
    - branch: the one that is deployed.
    - create_oidc_provider: whether to make the provider token.actions.githubusercontent.com. An account can have it
      only once: false where it exists already.
  EOT
  type = object({
    repository           = string
    subject_prefixes     = optional(list(string))
    branch               = optional(string, "main")
    create_oidc_provider = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.github == null ? true : can(regex("^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$", var.github.repository))
    error_message = "github.repository is not a repository. Use OWNER/NAME, for example acme/retina-pipeline."
  }

  validation {
    condition = alltrue([for prefix in try(coalesce(var.github.subject_prefixes), []) :
      can(regex("^repo:[^@:/]+(@[0-9]+)?/[^@:/]+(@[0-9]+)?$", prefix)) && replace(prefix, "/@[0-9]+/", "") == "repo:${var.github.repository}"
    ])
    error_message = "github.subject_prefixes holds one of another repository or with a wildcard. Use repo:OWNER/NAME or repo:OWNER@ID/NAME@ID of github.repository."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9._/-]+$", try(var.github.branch, "main"))) && !startswith(try(var.github.branch, "main"), "refs/")
    error_message = "github.branch is not a branch. Use its plain name, for example main."
  }

  validation {
    condition     = try(length(var.github.subject_prefixes) > 0, true)
    error_message = "github.subject_prefixes is empty, so nobody could take on the roles. Leave it out for repo:OWNER/NAME."
  }
}
