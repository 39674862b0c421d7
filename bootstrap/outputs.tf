output "state_bucket_name" {
  description = "Name of the bucket that holds all Terraform states of this project in this account and region."
  value       = aws_s3_bucket.state.bucket
}

output "github_roles" {
  description = "For each environment: the ARNs of the roles that GitHub's workflows plan and apply with, for GitHub's variables; the token subjects that may assume each; and the name of the permissions boundary for env/<environment>.tfvars. Empty without a repository."
  # Built from names: an import, for example after a killed deploy, evaluates outputs before all resources are in the
  # state.
  value = { for name in local.deployed : name => {
    plan_role_arn        = "arn:${local.partition}:iam::${local.account}:role/${var.project_name}-github-${name}-plan"
    plan_subjects        = local.subjects["${name}-plan"]
    apply_role_arn       = "arn:${local.partition}:iam::${local.account}:role/${var.project_name}-github-${name}-apply"
    apply_subjects       = local.subjects["${name}-apply"]
    permissions_boundary = "${var.project_name}-github-${name}-boundary"
  } }

  depends_on = [aws_iam_role_policy_attachment.github, aws_iam_policy.github]
}

output "people_policies" {
  description = "For each environment: the ARNs of the policies for people who upload scans, read results and erase patients. Attach them to your own roles."
  value = { for name, prefix in module.names.prefixes : name => {
    for person in ["uploader", "reader", "eraser"] : person => "arn:${local.partition}:iam::${local.account}:policy/${prefix}-${person}"
  } }

  depends_on = [aws_iam_policy.people]
}
