#!/usr/bin/env bash
# vpc_config is added to a Lambda function that exists, and the network that it names is made in the same apply. Known is
# that the function then stays outside (terraform-provider-aws issue 8509): the provider compares IDs, and there are
# none yet. But where anything else about the function changes as well, a description say, the apply does not leave it
# outside: it makes the network, and then ends with an error that calls itself a bug of the provider. The same apply once
# more succeeds. So whether a configuration can be applied depends on a change that has nothing to do with the network.
#
# Versions: Terraform 1.11.4, AWS provider 5.100.0, moto 5.2.5 as the endpoint. Output seen:
#   the network alone: applied, function in a network: no
#   once more: applied, function in a network: yes
#   the network and a description: failed, block count changed from 0 to 1
#   once more: applied, function in a network: yes
#
# Needs terraform; on a machine without the registry, TF_CLI_ARGS_init=-plugin-dir=FOLDER.
set -euo pipefail
folder=$(mktemp -d)
server=''
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'moto[awslambda,ec2,iam,server]==5.2.5'
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 MOTO_DOCKER_LAMBDA_IMAGE=none
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/moto_server" --host 127.0.0.1 --port "$port" >"$folder/server.log" 2>&1 &
server=$!
until curl --silent --fail "http://127.0.0.1:$port/moto-api/" >"$folder/page"; do
  kill -0 "$server"
  sleep 0.2
done
cat >"$folder/main.tf" <<'HCL'
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

variable "endpoint" { type = string }
variable "description" { type = string }
variable "network" { type = bool }

provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {
    ec2    = var.endpoint
    iam    = var.endpoint
    lambda = var.endpoint
  }
}

resource "aws_iam_role" "role" {
  name               = "role"
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [] })
}

resource "aws_lambda_function" "function" {
  function_name = "function"
  description   = var.description
  role          = aws_iam_role.role.arn
  runtime       = "python3.12"
  handler       = "code.handler"
  filename      = "code.zip"

  dynamic "vpc_config" {
    for_each = aws_subnet.subnet
    content {
      subnet_ids         = [vpc_config.value.id]
      security_group_ids = [aws_security_group.group[0].id]
    }
  }
}

resource "aws_vpc" "network" {
  count      = var.network ? 1 : 0
  cidr_block = "10.0.0.0/24"
}

resource "aws_subnet" "subnet" {
  count      = var.network ? 1 : 0
  vpc_id     = aws_vpc.network[0].id
  cidr_block = "10.0.0.0/24"
}

resource "aws_security_group" "group" {
  count  = var.network ? 1 : 0
  name   = "group"
  vpc_id = aws_vpc.network[0].id
}

output "in_network" { value = length(aws_lambda_function.function.vpc_config) > 0 ? "yes" : "no" }
HCL
"$folder/venv/bin/python" -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1], "w").writestr("code.py", "")' "$folder/code.zip"
terraform -chdir="$folder" init -input=false >"$folder/init.log"
apply() { # what is said of it, whether there is a network, the description
  if terraform -chdir="$folder" apply -auto-approve -no-color -input=false -var="endpoint=http://127.0.0.1:$port" \
    -var="network=$2" -var="description=$3" >"$folder/apply.log" 2>&1; then
    echo "$1: applied, function in a network: $(terraform -chdir="$folder" output -raw in_network)"
  else
    echo "$1: failed, $(grep -o 'block count changed from 0 to 1' "$folder/apply.log" || cat "$folder/apply.log")"
  fi
}
apply before false one >"$folder/before"
{
  apply "the network alone" true one
  apply "once more" true one
  apply before false one >"$folder/before"
  apply "the network and a description" true two
  apply "once more" true two
} | tee "$folder/seen"
diff "$folder/seen" - <<'EXPECTED'
the network alone: applied, function in a network: no
once more: applied, function in a network: yes
the network and a description: failed, block count changed from 0 to 1
once more: applied, function in a network: yes
EXPECTED
