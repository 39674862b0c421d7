output "state_bucket_name" {
  description = "Bucket of all Terraform states of this project in this account and region."
  value       = aws_s3_bucket.state.bucket

  # Whoever waits for the name gets a bucket that is versioned and closed.
  depends_on = [aws_s3_bucket_versioning.state, aws_s3_bucket_policy.state]
}

output "github_roles" {
  description = "Per environment: ARNs of the roles that GitHub's workflows plan and apply with, for GitHub's variables, and the name of the boundary for env/<environment>.tfvars. Empty without a repository."
  value = { for name in local.deployed : name => {
    plan_role_arn        = aws_iam_role.github["${name}-plan"].arn
    apply_role_arn       = aws_iam_role.github["${name}-apply"].arn
    permissions_boundary = aws_iam_policy.github["${name}-boundary"].name
  } }
}
