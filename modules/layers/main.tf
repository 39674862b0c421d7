resource "aws_lambda_layer_version" "this" {
  layer_name               = var.name
  description              = "Python packages of the data processor (layers/requirements.txt)"
  compatible_runtimes      = ["python3.12"]
  compatible_architectures = [var.architecture]
  filename                 = var.package
  source_code_hash         = fileexists(var.package) ? filebase64sha256(var.package) : null

  lifecycle {
    # The function keeps its old layer until the new one exists.
    create_before_destroy = true

    precondition {
      condition     = fileexists(var.package)
      error_message = "The layer package ${var.package} is missing. Run ./deploy.sh build."
    }
  }
}
