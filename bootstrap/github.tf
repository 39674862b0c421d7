# The roles that GitHub's workflows may assume: for each environment one that plans and one that applies.

locals {
  issuer       = "token.actions.githubusercontent.com"
  provider_arn = "arn:${local.partition}:iam::${local.account}:oidc-provider/${local.issuer}"
  deployed     = var.github == null ? [] : tolist(var.environments)
  repositories = var.github == null ? [] : coalesce(var.github.subject_prefixes, ["repo:${var.github.repository}"])

  policies_of_role = {
    plan  = ["read"]
    apply = ["read", "data", "function", "monitoring", "network"]
  }

  roles = merge([for name in local.deployed : {
    for role in ["plan", "apply"] : "${name}-${role}" => { environment = name, role = role }
  }]...)
  # Each role is for jobs of one GitHub environment, whose protection rules apply: NAME applies, NAME-plan plans.
  subjects = { for key, role in local.roles : key => [
    for prefix in local.repositories : "${prefix}:environment:${role.environment}${role.role == "plan" ? "-plan" : ""}"
  ] }
  policies = merge([for name in local.deployed : {
    for policy, statements in local.statements[name] : "${name}-${policy}" => statements
  }]...)
  attachments = merge([for key, role in local.roles : {
    for policy in local.policies_of_role[role.role] : "${key}-${policy}" => { role = key, policy = "${role.environment}-${policy}" }
  }]...)
}

resource "aws_iam_openid_connect_provider" "github" {
  count = try(var.github.create_oidc_provider, false) ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "github" {
  for_each = local.roles

  name               = "${var.project_name}-github-${each.key}"
  description        = "GitHub, to ${each.value.role} ${each.value.environment}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.key].json
  tags               = { Environment = each.value.environment }

  # A role cannot trust a provider that does not exist yet.
  depends_on = [aws_iam_openid_connect_provider.github]

  lifecycle {
    precondition {
      # Only commercial regions: "AWS STS supports validation of identity provider specific claims", AWS, 2026-01.
      condition     = local.partition == "aws"
      error_message = "GitHub cannot sign in to ${var.region}: the roles trust a single branch, and AWS checks a token's branch only in commercial regions. Remove github from env/bootstrap.tfvars and deploy from your own machine."
    }
  }
}

data "aws_iam_policy_document" "trust" {
  #checkov:skip=CKV_AWS_358:checkov cannot resolve the subjects; they are exact, and bootstrap/tests compares them in full
  for_each = local.roles

  statement {
    sid     = "GitHub"
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [local.provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }

    # Exact subjects, never a pattern, which could admit other branches or repositories.
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = local.subjects[each.key]
    }

    # A job of any branch may use a GitHub environment that does not restrict branches, so the branch is checked here as
    # well.
    dynamic "condition" {
      for_each = each.value.role == "apply" ? [var.github.branch] : []

      content {
        test     = "StringEquals"
        variable = "${local.issuer}:ref"
        values   = ["refs/heads/${condition.value}"]
      }
    }
  }
}

resource "aws_iam_policy" "github" {
  for_each = local.policies

  name   = "${var.project_name}-github-${each.key}"
  policy = data.aws_iam_policy_document.table[each.key].json
}

resource "aws_iam_role_policy_attachment" "github" {
  for_each = local.attachments

  role       = aws_iam_role.github[each.value.role].name
  policy_arn = aws_iam_policy.github[each.value.policy].arn
}
