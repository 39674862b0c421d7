# Names, and the plain outputs that the README's commands use. Plans only, without an account or a network.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "111122223333" }
}

override_resource {
  target          = module.pipeline["dev"].terraform_data.bucket_suffix
  override_during = plan
  values          = { output = "1234abcd" }
}

override_resource {
  target          = module.pipeline["prod"].terraform_data.bucket_suffix
  override_during = plan
  values          = { output = "5678efab" }
}

run "dev_has_the_plain_names" {
  command = plan

  assert {
    condition     = output.raw_data_bucket_name == "ikerian-data-pipeline-raw-data-1234abcd"
    error_message = "raw bucket: ${output.raw_data_bucket_name}"
  }
  assert {
    condition     = output.processed_data_bucket_name == "ikerian-data-pipeline-processed-data-1234abcd"
    error_message = "processed bucket: ${output.processed_data_bucket_name}"
  }
  assert {
    condition     = output.lambda_function_name == "ikerian-data-pipeline-data-processor"
    error_message = "function: ${output.lambda_function_name}"
  }
  assert {
    condition     = output.log_group_name == "/aws/lambda/ikerian-data-pipeline-data-processor"
    error_message = "log group: ${output.log_group_name}"
  }
  assert {
    condition     = output.pipelines["dev"].force_destroy
    error_message = "terraform destroy must be able to delete a dev environment that holds data"
  }
}

run "prod_adds_its_name_and_keeps_its_data" {
  command = plan

  variables {
    environments = { prod = { alarm_emails = ["oncall@example.org"] } }
  }

  assert {
    condition     = output.raw_data_bucket_name == "ikerian-data-pipeline-prod-raw-data-5678efab"
    error_message = "raw bucket: ${output.raw_data_bucket_name}"
  }
  assert {
    condition     = output.processed_data_bucket_name == "ikerian-data-pipeline-prod-processed-data-5678efab"
    error_message = "processed bucket: ${output.processed_data_bucket_name}"
  }
  assert {
    condition     = output.lambda_function_name == "ikerian-data-pipeline-prod-data-processor"
    error_message = "function: ${output.lambda_function_name}"
  }
  assert {
    condition     = output.log_group_name == "/aws/lambda/ikerian-data-pipeline-prod-data-processor"
    error_message = "log group: ${output.log_group_name}"
  }
  assert {
    condition     = !output.pipelines["prod"].force_destroy
    error_message = "terraform destroy must not delete prod's data unless force_destroy is set"
  }
}

run "force_destroy_lets_go_of_prods_data" {
  command = plan

  variables {
    environments = { prod = { force_destroy = true } }
  }

  assert {
    condition     = output.pipelines["prod"].force_destroy
    error_message = "force_destroy = true has no effect"
  }
}

run "one_state_holds_both" {
  command = plan

  variables {
    environments = { dev = {}, prod = { alarm_emails = ["oncall@example.org"] } }
  }

  assert {
    condition     = join(",", keys(output.pipelines)) == "dev,prod"
    error_message = "pipelines: ${join(",", keys(output.pipelines))}"
  }
  assert {
    condition     = output.raw_data_bucket_name == null && output.processed_data_bucket_name == null && output.lambda_function_name == null && output.log_group_name == null
    error_message = "with two pipelines the plain outputs must be null"
  }
  assert {
    condition = length(distinct(flatten([for pipeline in output.pipelines : [
      pipeline.raw_data_bucket_name, pipeline.processed_data_bucket_name, pipeline.lambda_function_name, pipeline.log_group_name
    ]]))) == 8
    error_message = "dev and prod share a name"
  }
}
