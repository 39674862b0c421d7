# The layer of the function's packages.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variables {
  name         = "eyes"
  package      = "../../build/layer-arm64.zip"
  architecture = "arm64"
}

run "layer" {
  command = plan

  assert {
    condition     = aws_lambda_layer_version.this.compatible_runtimes == toset(["python3.12"]) && aws_lambda_layer_version.this.compatible_architectures == toset(["arm64"])
    error_message = "The layer must be for Python 3.12 on the function's processor."
  }
  assert {
    condition     = aws_lambda_layer_version.this.source_code_hash == filebase64sha256("../../build/layer-arm64.zip")
    error_message = "A changed layer package would not be deployed."
  }
}

run "missing_package" {
  command = plan

  variables {
    package = "no/such/layer.zip"
  }

  expect_failures = [aws_lambda_layer_version.this]
}
