output "function" {
  description = "Where the function runs: its subnets and its security group, once S3 can be reached from there."
  value = {
    subnet_ids         = [for subnet in aws_subnet.private : subnet.id]
    security_group_ids = [aws_security_group.function.id]
  }

  depends_on = [aws_vpc_endpoint.s3, aws_vpc_security_group_egress_rule.s3, aws_route_table_association.private]
}

output "endpoint_policy" {
  description = "Policy of the way to S3 as attached, JSON."
  value       = aws_vpc_endpoint.s3.policy
}
