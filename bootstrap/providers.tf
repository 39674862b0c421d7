terraform {
  required_version = ">= 1.11, < 2.0" # 1.11: the S3 backend locks the state by itself, without DynamoDB

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Project   = var.project_name
      ManagedBy = "terraform"
    }
  }
}
