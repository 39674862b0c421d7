# Who GitHub's workflows may become: per environment one role that plans and one that applies.

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
  # Jobs of one GitHub environment, so that its protection rules decide: NAME applies, NAME-plan plans.
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

  # A role cannot trust a provider that is not there yet.
  depends_on = [aws_iam_openid_connect_provider.github]

  lifecycle {
    precondition {
      # AWS, "AWS STS supports validation of identity provider specific claims", 2026-01: in all commercial regions.
      condition     = local.partition == "aws"
      error_message = "GitHub cannot sign in to ${var.region}: the roles trust the branch main alone, and AWS looks at a token's branch in commercial regions only. Take github out of env/bootstrap.tfvars, and deploy from a machine of yours."
    }
  }
}

data "aws_iam_policy_document" "trust" {
  #checkov:skip=CKV_AWS_358:It cannot work out the subjects; they are exact, and bootstrap/tests compares them in full
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

    # Whole subjects and never a pattern, which would let other branches or repositories in.
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = local.subjects[each.key]
    }

    # Any branch's job may name a GitHub environment that has no rule about branches. So the branch is checked here, too.
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
