# A network with no route to the internet. The function needs only S3, and a gateway endpoint for S3 is free, so a
# private network costs nothing per hour.
#
# Every resource has create_before_destroy: a new network exists before the function moves, and the old one is destroyed
# after that. By default Terraform destroys first, and the running function would lose its connection to S3.

# New zones need new subnets, and the old subnets use all addresses of the network, so new zones replace the network as
# well.
resource "terraform_data" "zones" {
  input = var.availability_zones
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:The only way out is TLS to these buckets, and their access logs say more than a flow log would
  cidr_block           = var.cidr_block
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(var.tags, { Name = var.name })

  lifecycle {
    create_before_destroy = true
    replace_triggered_by  = [terraform_data.zones]
  }
}

resource "aws_subnet" "private" {
  for_each = { first = 0, second = 1 }

  vpc_id            = aws_vpc.this.id
  availability_zone = var.availability_zones[each.value]
  cidr_block        = cidrsubnet(var.cidr_block, 1, each.value)
  tags              = merge(var.tags, { Name = "${var.name}-${each.key}" })

  # Lambda deletes its interfaces as the function's role, so the role's permissions must be destroyed after this.
  depends_on = [var.role_permissions]

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.name })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private.id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id          = aws_vpc.this.id
  service_name    = "com.amazonaws.${var.region}.s3"
  route_table_ids = [aws_route_table.private.id]
  policy          = data.aws_iam_policy_document.endpoint.json
  tags            = merge(var.tags, { Name = var.name })

  lifecycle {
    create_before_destroy = true
  }
}

# Whatever credentials are used inside the network, they reach these buckets and no others.
data "aws_iam_policy_document" "endpoint" {
  statement {
    sid       = "OnlyTheseBuckets"
    actions   = ["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"]
    resources = flatten([for arn in var.bucket_arns : [arn, "${arn}/*"]])

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}

resource "aws_security_group" "function" {
  #checkov:skip=CKV2_AWS_5:Attached to the function, in modules/lambda
  name        = "${var.name}-function"
  description = "The function: out to S3, nothing in"
  vpc_id      = aws_vpc.this.id
  tags        = merge(var.tags, { Name = "${var.name}-function" })

  depends_on = [var.role_permissions] # as for the subnets

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  security_group_id = aws_security_group.function.id
  description       = "TLS to S3"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  tags              = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

# AWS creates this group with rules that allow everything. Terraform adopts the group and removes the rules.
resource "aws_default_security_group" "this" {
  vpc_id  = aws_vpc.this.id
  ingress = []
  egress  = []
  tags    = merge(var.tags, { Name = "${var.name}-unused" })

  lifecycle {
    create_before_destroy = true
  }
}
