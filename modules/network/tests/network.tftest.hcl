# The network, and its only way out.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

run "network" {
  command = plan

  variables {
    name               = "eyes"
    region             = "us-east-1"
    availability_zones = ["us-east-1a", "us-east-1b"]
    cidr_block         = "10.0.0.0/24"
    bucket_arns        = ["arn:aws:s3:::eyes-raw"]
    role_permissions   = "private-network"
  }

  # These attributes are known only after apply, unless they are set in the configuration.
  override_resource {
    target          = aws_security_group.function
    override_during = plan
    values          = { ingress = [] }
  }

  override_resource {
    target          = aws_route_table.private
    override_during = plan
    values          = { route = [] }
  }

  assert {
    condition     = join(" ", sort([for subnet in aws_subnet.private : "${subnet.availability_zone}=${subnet.cidr_block}"])) == "us-east-1a=10.0.0.0/25 us-east-1b=10.0.0.128/25"
    error_message = "The network must have one subnet in each of two zones."
  }
  assert {
    condition = jsonencode(jsondecode(aws_vpc_endpoint.s3.policy).Statement) == jsonencode([{
      Sid      = "OnlyTheseBuckets", Effect = "Allow", Principal = "*"
      Action   = ["s3:PutObject", "s3:ListBucket", "s3:GetObjectVersion", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
      Resource = ["arn:aws:s3:::eyes-raw/*", "arn:aws:s3:::eyes-raw"]
    }])
    error_message = "The endpoint allows other requests: ${aws_vpc_endpoint.s3.policy}"
  }
  assert {
    condition     = aws_vpc_endpoint.s3.service_name == "com.amazonaws.us-east-1.s3" && aws_vpc_security_group_egress_rule.s3.from_port == 443 && aws_vpc_security_group_egress_rule.s3.to_port == 443 && aws_vpc_security_group_egress_rule.s3.cidr_ipv4 == null && aws_vpc_security_group_egress_rule.s3.cidr_ipv6 == null
    error_message = "The function must be able to connect to S3 only."
  }
  assert {
    condition     = length(aws_security_group.function.ingress) == 0 && length(aws_route_table.private.route) == 0
    error_message = "Connections to the function are allowed, or the network has another route out."
  }
  assert {
    condition     = length(aws_default_security_group.this.ingress) == 0 && length(aws_default_security_group.this.egress) == 0
    error_message = "The default security group must allow nothing."
  }
}
