output "function" {
  description = "IDs of the function's subnets and security group, available once S3 can be reached from them."
  value = {
    subnet_ids         = [for subnet in aws_subnet.private : subnet.id]
    security_group_ids = [aws_security_group.function.id]
  }

  depends_on = [aws_vpc_endpoint.s3, aws_vpc_security_group_egress_rule.s3, aws_route_table_association.private]
}
