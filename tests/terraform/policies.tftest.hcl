# Every policy as attached, compared in full, and the wiring between the modules.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

override_resource {
  target          = terraform_data.bucket_suffix
  override_during = plan
  values          = { output = "1234abcd" }
}

override_resource {
  target          = module.kms.aws_kms_key.this
  override_during = plan
  values          = { arn = "arn:aws:kms:us-east-1:111122223333:key/k" }
}

variables {
  name_prefix     = "eyes"
  environment     = "dev"
  account_id      = "111122223333"
  region          = "us-east-1"
  packages_dir    = "build"
  function        = { architecture = "arm64", memory_mb = 512, timeout_seconds = 60, log_retention_days = 14, reserved_concurrency = null }
  ingestion       = { mode = "direct", maximum_concurrency = 7, batch_size = 3, batching_window_seconds = 5 }
  data            = { noncurrent_version_days = 30, archive_after_days = 60, object_lock_days = null, access_log_days = 90, stale_results = "keep", force_destroy = false }
  private_network = null
  monitoring      = { alarm_emails = ["oncall@example.org"], rejection_emails = ["sender@example.org"], saved_queries = true, request_metrics = true }
}

run "execution_role" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition     = module.iam.network_permissions == null
    error_message = "The role may attach the function to a network, and there is none."
  }
  assert {
    condition = jsonencode(jsondecode(module.iam.policy).Statement) == jsonencode([
      { Sid = "ReadRawObjects", Effect = "Allow", Action = ["s3:GetObjectVersion", "s3:GetObject"], Resource = "arn:aws:s3:::eyes-raw-data-1234abcd/*" },
      { Sid = "TellAbsentFromForbidden", Effect = "Allow", Action = "s3:ListBucket", Resource = ["arn:aws:s3:::eyes-rejected-1234abcd", "arn:aws:s3:::eyes-raw-data-1234abcd"] },
      { Sid = "WriteProcessedObjects", Effect = "Allow", Action = ["s3:PutObject", "s3:AbortMultipartUpload"], Resource = "arn:aws:s3:::eyes-processed-data-1234abcd/*" },
      { Sid = "WriteAndRemoveVerdicts", Effect = "Allow", Action = ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"], Resource = "arn:aws:s3:::eyes-rejected-1234abcd/*" },
      { Sid = "WriteLog", Effect = "Allow", Action = ["logs:PutLogEvents", "logs:CreateLogStream"], Resource = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes-data-processor:*" },
      { Sid = "SendFailedEvents", Effect = "Allow", Action = "sqs:SendMessage", Resource = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter" },
      { Sid = "TakeMessages", Effect = "Allow", Action = ["sqs:ReceiveMessage", "sqs:GetQueueAttributes", "sqs:DeleteMessage"], Resource = "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion" },
      {
        Sid      = "UseKeyForObjects", Effect = "Allow", Action = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource = "arn:aws:kms:us-east-1:111122223333:key/k"
        Condition = {
          StringEquals = { "kms:ViaService" = "s3.us-east-1.amazonaws.com" }
          StringLike = { "kms:EncryptionContext:aws:s3:arn" = [
            "arn:aws:s3:::eyes-raw-data-1234abcd", "arn:aws:s3:::eyes-raw-data-1234abcd/*",
            "arn:aws:s3:::eyes-processed-data-1234abcd", "arn:aws:s3:::eyes-processed-data-1234abcd/*",
            "arn:aws:s3:::eyes-rejected-1234abcd", "arn:aws:s3:::eyes-rejected-1234abcd/*",
          ] }
        }
      },
      {
        Sid      = "UseKeyForMessages", Effect = "Allow", Action = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource = "arn:aws:kms:us-east-1:111122223333:key/k"
        Condition = { StringEquals = {
          "kms:ViaService" = "sqs.us-east-1.amazonaws.com"
          "kms:EncryptionContext:aws:sqs:arn" = [
            "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion", "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter",
          ]
        } }
      },
      {
        Sid      = "ReadOwnVariables", Effect = "Allow", Action = "kms:Decrypt"
        Resource = "arn:aws:kms:us-east-1:111122223333:key/k"
        Condition = { StringLike = { "kms:EncryptionContext:aws:lambda:FunctionArn" = [
          "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor", "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor:*",
        ] } }
      },
      { Sid = "SendTraces", Effect = "Allow", Action = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], Resource = "*" },
    ])
    error_message = "The execution role's policy changed: ${module.iam.policy}"
  }
}

run "execution_role_where_results_are_removed" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  variables {
    data = { noncurrent_version_days = 30, archive_after_days = 60, object_lock_days = null, access_log_days = 90, stale_results = "remove", force_destroy = false }
  }

  assert {
    condition = jsonencode([for statement in jsondecode(module.iam.policy).Statement : statement if contains(["TellAbsentFromForbidden", "RemoveProcessedObjects"], statement.Sid)]) == jsonencode([
      {
        Sid      = "TellAbsentFromForbidden", Effect = "Allow", Action = "s3:ListBucket"
        Resource = ["arn:aws:s3:::eyes-rejected-1234abcd", "arn:aws:s3:::eyes-raw-data-1234abcd", "arn:aws:s3:::eyes-processed-data-1234abcd"]
      },
      { Sid = "RemoveProcessedObjects", Effect = "Allow", Action = "s3:DeleteObject", Resource = "arn:aws:s3:::eyes-processed-data-1234abcd/*" },
    ])
    error_message = "The function cannot remove results, or can do more: ${module.iam.policy}"
  }
  assert {
    condition     = one(aws_s3_bucket_notification.raw.lambda_function).events == toset(["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:DeleteMarkerCreated"])
    error_message = "Nobody tells the function of a deletion, so results stay."
  }
  assert {
    condition     = module.lambda.planned.environment_variables.STALE_RESULTS == "remove"
    error_message = "The function keeps results that it is set to remove."
  }
}

run "data_bucket_policies" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition = alltrue([for role, suffix in { raw = "raw-data-1234abcd", processed = "processed-data-1234abcd", rejected = "rejected-1234abcd" } :
      jsonencode(jsondecode(module.bucket[role].policy).Statement) == jsonencode([
        {
          Sid      = "DenyOtherEncryption", Effect = "Deny", Principal = "*", Action = "s3:PutObject"
          Resource = "arn:aws:s3:::eyes-${suffix}/*"
          Condition = {
            Null            = { "s3:x-amz-server-side-encryption" = "false" }
            StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }
          }
        },
        {
          Sid      = "DenyOtherKey", Effect = "Deny", Principal = "*", Action = "s3:PutObject"
          Resource = "arn:aws:s3:::eyes-${suffix}/*"
          Condition = {
            Null            = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "false" }
            StringNotEquals = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "arn:aws:kms:us-east-1:111122223333:key/k" }
          }
        },
        {
          Sid      = "DenyUnnamedKey", Effect = "Deny", Principal = "*", Action = "s3:PutObject"
          Resource = "arn:aws:s3:::eyes-${suffix}/*"
          Condition = { Null = {
            "s3:x-amz-server-side-encryption"                = "false"
            "s3:x-amz-server-side-encryption-aws-kms-key-id" = "true"
          } }
        },
        {
          Sid       = "DenyCallersKey", Effect = "Deny", Principal = "*", Action = "s3:PutObject"
          Resource  = "arn:aws:s3:::eyes-${suffix}/*"
          Condition = { Null = { "s3:x-amz-server-side-encryption-customer-algorithm" = "false" } }
        },
        {
          Sid       = "DenyInsecureTransport", Effect = "Deny", Principal = "*", Action = "s3:*"
          Resource  = ["arn:aws:s3:::eyes-${suffix}/*", "arn:aws:s3:::eyes-${suffix}"]
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
        {
          Sid       = "DenyOutdatedTls", Effect = "Deny", Principal = "*", Action = "s3:*"
          Resource  = ["arn:aws:s3:::eyes-${suffix}/*", "arn:aws:s3:::eyes-${suffix}"]
          Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
        },
        {
          Sid      = "DenyOtherAccounts", Effect = "Deny", Principal = "*", Action = "s3:*"
          Resource = ["arn:aws:s3:::eyes-${suffix}/*", "arn:aws:s3:::eyes-${suffix}"]
          Condition = {
            BoolIfExists    = { "aws:PrincipalIsAWSService" = "false" }
            StringNotEquals = { "aws:PrincipalAccount" = "111122223333" }
          }
        },
      ])
    ])
    error_message = "A bucket policy changed: ${module.bucket["raw"].policy} ${module.bucket["processed"].policy} ${module.bucket["rejected"].policy}"
  }
}

run "what_the_pipeline_hands_on" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  override_resource {
    target          = module.queue.aws_sqs_queue.dead_letter
    override_during = plan
    values          = { arn = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter" }
  }

  override_resource {
    target          = module.network[0].aws_subnet.private
    override_during = plan
    values          = { id = "subnet-1" }
  }

  override_resource {
    target          = module.network[0].aws_security_group.function
    override_during = plan
    values          = { id = "sg-1" }
  }

  variables {
    data                 = { noncurrent_version_days = 31, archive_after_days = 60, object_lock_days = 365, access_log_days = 90, stale_results = "keep", force_destroy = false }
    private_network      = { availability_zones = ["us-east-1a", "us-east-1b"], cidr_block = "10.0.0.0/24" }
    permissions_boundary = "bounds"
  }

  assert {
    condition = jsonencode({ for role, bucket in module.bucket : role => bucket.protection }) == jsonencode({ for role, archive_days in { processed = null, raw = 60, rejected = null } : role => {
      encryption      = { kms_master_key_id = "arn:aws:kms:us-east-1:111122223333:key/k", sse_algorithm = "aws:kms" }
      access_log      = "eyes-access-log-1234abcd"
      access_log_key  = "${role}/"
      object_lock     = { days = 365, mode = "GOVERNANCE", years = null }
      noncurrent_days = 31
      archive_days    = archive_days
      expire_days     = null
      force_destroy   = false
    } })
    error_message = "A data bucket is not encrypted, logged, locked or kept as the settings say: ${jsonencode({ for role, bucket in module.bucket : role => bucket.protection })}"
  }
  assert {
    condition = jsonencode(module.log_bucket.protection) == jsonencode({
      encryption      = { kms_master_key_id = "", sse_algorithm = "AES256" }
      access_log      = null
      access_log_key  = null
      object_lock     = null
      noncurrent_days = 1
      archive_days    = null
      expire_days     = 90
      force_destroy   = false
    })
    error_message = "The access log cannot be delivered, is not kept as the settings say, or would go with a destroy: ${jsonencode(module.log_bucket.protection)}"
  }
  assert {
    condition = jsonencode(module.lambda.planned) == jsonencode({
      environment_variables = { POWERTOOLS_METRICS_NAMESPACE = "RetinaScanPipeline", POWERTOOLS_SERVICE_NAME = "eyes-data-processor", PROCESSED_BUCKET = "eyes-processed-data-1234abcd", REJECTED_BUCKET = "eyes-rejected-1234abcd", STALE_RESULTS = "keep" }
      failure_queue         = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter"
      kms_keys              = { log = "arn:aws:kms:us-east-1:111122223333:key/k", variables = "arn:aws:kms:us-east-1:111122223333:key/k" }
      security_groups       = ["sg-1"]
      subnets               = ["subnet-1"]
    })
    error_message = "The function is connected to something else: ${jsonencode(module.lambda.planned)}"
  }
  assert {
    condition = jsonencode(module.queue.planned) == jsonencode({
      kms_keys                   = { dead_letter = "arn:aws:kms:us-east-1:111122223333:key/k", ingestion = "arn:aws:kms:us-east-1:111122223333:key/k" }
      visibility_timeout_seconds = 6 * 60 + 5
    })
    error_message = "A queue has another key, or messages come back too early: ${jsonencode(module.queue.planned)}"
  }
  assert {
    condition     = jsonencode(module.monitoring.planned.topic) == jsonencode({ emails = ["oncall@example.org"], kms_key = "arn:aws:kms:us-east-1:111122223333:key/k" })
    error_message = "Alarms are encrypted with another key or sent to somebody else: ${jsonencode(module.monitoring.planned)}"
  }
  assert {
    condition     = jsonencode(module.rejections.planned) == jsonencode({ emails = ["sender@example.org"], kms_key = "arn:aws:kms:us-east-1:111122223333:key/k" })
    error_message = "News of rejected files are encrypted with another key or sent to somebody else: ${jsonencode(module.rejections.planned)}"
  }
  assert {
    condition     = module.iam.planned.permissions_boundary == "arn:aws:iam::111122223333:policy/bounds"
    error_message = "The role is not bounded as set: ${jsonencode(module.iam.planned)}"
  }
  assert {
    condition     = module.kms.deletion_window_days == 30
    error_message = "Where data is kept, the deletion of its key can be taken back for 30 days."
  }
  assert {
    condition = jsondecode(module.network[0].endpoint_policy).Statement[0].Resource == [
      "arn:aws:s3:::eyes-rejected-1234abcd/*", "arn:aws:s3:::eyes-rejected-1234abcd",
      "arn:aws:s3:::eyes-raw-data-1234abcd/*", "arn:aws:s3:::eyes-raw-data-1234abcd",
      "arn:aws:s3:::eyes-processed-data-1234abcd/*", "arn:aws:s3:::eyes-processed-data-1234abcd",
    ]
    error_message = "The network leads elsewhere than to the data buckets: ${module.network[0].endpoint_policy}"
  }
  assert {
    condition     = module.iam.network_permissions == "private-network"
    error_message = "The role cannot attach the function to its network."
  }
}

# A resource that opens a way in or out is not seen in what the others look like. So here is all that there is.
run "nothing_else" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition = length(var.name_prefix) > 0 && jsonencode({ for folder in distinct([for file in fileset("modules", "*/*.tf") : dirname(file)]) : folder => sort(flatten([
      for file in fileset("modules", "${folder}/*.tf") : [for found in regexall("(?m)^resource \"(\\w+)\" \"(\\w+)\"", file("modules/${file}")) : join(".", found)]
      ])) }) == jsonencode({
      iam = [
        "aws_iam_role.execution", "aws_iam_role_policy.execution", "aws_iam_role_policy.network",
      ]
      kms = [
        "aws_kms_alias.this", "aws_kms_key.this",
      ]
      lambda = [
        "aws_cloudwatch_log_group.this", "aws_lambda_alias.live", "aws_lambda_function.this",
        "aws_lambda_function_event_invoke_config.this",
      ]
      layers = [
        "aws_lambda_layer_version.this",
      ]
      monitoring = [
        "aws_cloudwatch_dashboard.this", "aws_cloudwatch_metric_alarm.nothing_processed",
        "aws_cloudwatch_metric_alarm.this", "aws_cloudwatch_query_definition.this", "aws_s3_bucket_metric.uploads",
      ]
      names = []
      network = [
        "aws_default_security_group.this", "aws_route_table.private", "aws_route_table_association.private",
        "aws_security_group.function", "aws_subnet.private", "aws_vpc.this", "aws_vpc_endpoint.s3",
        "aws_vpc_security_group_egress_rule.s3", "terraform_data.zones",
      ]
      pipeline = [
        "aws_lambda_event_source_mapping.queue", "aws_lambda_permission.s3", "aws_s3_bucket_notification.raw",
        "aws_s3_bucket_notification.rejected", "terraform_data.bucket_suffix",
      ]
      queue = [
        "aws_sqs_queue.dead_letter", "aws_sqs_queue.ingestion",
      ]
      s3 = [
        "aws_s3_bucket.this", "aws_s3_bucket_lifecycle_configuration.this", "aws_s3_bucket_logging.this",
        "aws_s3_bucket_object_lock_configuration.this", "aws_s3_bucket_ownership_controls.this",
        "aws_s3_bucket_policy.this", "aws_s3_bucket_public_access_block.this",
        "aws_s3_bucket_server_side_encryption_configuration.this", "aws_s3_bucket_versioning.this",
      ]
      topic = [
        "aws_sns_topic.this", "aws_sns_topic_policy.this", "aws_sns_topic_subscription.email",
      ]
    })
    error_message = "A module makes something that no test knows: look at what it opens, test it, and name it here."
  }
}

run "states" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition = alltrue([for environment, file in { dev = "env/backend.hcl", prod = "env/prod-backend.hcl" } :
      [for setting in regexall("(?m)^(\\w+) += (.*)$", file(file)) : join("=", setting)] == ["key=\"${environment}/terraform.tfstate\"", "region=\"${var.region}\"", "encrypt=true", "use_lockfile=true"]
    ])
    error_message = "A state is not encrypted, not locked, or another environment's."
  }
}

run "alarms" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  variables {
    environment = "prod"
  }

  assert {
    condition = jsonencode(module.monitoring.planned.alarms) == jsonencode({ for name, alarm in {
      dead-letter-queue  = ["AWS/SQS ApproximateNumberOfMessagesVisible Maximum", { QueueName = "eyes-dead-letter" }, "0, 1 x 300 s, missing: ignore"]
      failed-files       = ["RetinaScanPipeline FilesFailed Sum", { service = "eyes-data-processor" }, "0, 1 x 720 s, missing: notBreaching"]
      function-duration  = ["AWS/Lambda Duration Maximum", { FunctionName = "eyes-data-processor" }, "48000, 1 x 300 s, missing: notBreaching"]
      function-errors    = ["AWS/Lambda Errors Sum", { FunctionName = "eyes-data-processor" }, "0, 1 x 300 s, missing: notBreaching"]
      function-throttles = ["AWS/Lambda Throttles Sum", { FunctionName = "eyes-data-processor" }, "0, 1 x 300 s, missing: notBreaching"]
      lost-events        = ["AWS/Lambda DestinationDeliveryFailures Sum", { FunctionName = "eyes-data-processor" }, "0, 1 x 300 s, missing: notBreaching"]
      oldest-message     = ["AWS/SQS ApproximateAgeOfOldestMessage Maximum", { QueueName = "eyes-ingestion" }, "180, 1 x 300 s, missing: notBreaching"]
      rejected-files     = ["RetinaScanPipeline FilesRejected Sum", { service = "eyes-data-processor" }, "0, 1 x 300 s, missing: notBreaching"]
    } : name => { goes_on = "GreaterThanThreshold ${alarm[2]}", metric = alarm[0], of = alarm[1] } })
    error_message = "An alarm watches something else: ${jsonencode(module.monitoring.planned.alarms)}"
  }
  assert {
    condition     = toset(local.alarms) == toset(concat(keys(module.monitoring.planned.alarms), ["nothing-processed"]))
    error_message = "An alarm came or went: name it in modules/pipeline, or it may not send."
  }
  assert {
    condition     = toset(module.monitoring.planned.commands) == toset(["./deploy.sh audit prod", "./deploy.sh drift prod", "./deploy.sh failures prod", "./deploy.sh logs prod --once --since 1h", "./deploy.sh status prod"])
    error_message = "An alarm names a command that acts on another environment, or alarms no longer name all of them: ${jsonencode(module.monitoring.planned.commands)}"
  }
}

run "log_bucket_policy" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition = jsonencode([for statement in jsondecode(module.log_bucket.policy).Statement : statement if statement.Effect == "Allow"]) == jsonencode([
      for role, name in { processed = "processed-data", raw = "raw-data", rejected = "rejected" } : {
        Sid                         = "DeliverLogsOf${title(role)}", Effect = "Allow", Action = "s3:PutObject"
        Principal                   = { Service = "logging.s3.amazonaws.com" }
        Resource                    = "arn:aws:s3:::eyes-access-log-1234abcd/${role}/*"
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::eyes-${name}-1234abcd" }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
      }
    ])
    error_message = "Who may deliver access logs changed: ${module.log_bucket.policy}"
  }
  assert {
    condition     = [for statement in jsondecode(module.log_bucket.policy).Statement : statement.Sid if statement.Effect == "Deny"] == ["DenyInsecureTransport", "DenyOutdatedTls", "DenyOtherAccounts"]
    error_message = "What the log bucket denies changed: ${module.log_bucket.policy}"
  }
}

run "key_policy" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition = jsonencode(jsondecode(module.kms.policy).Statement) == jsonencode([
      { Sid = "AccountDecides", Effect = "Allow", Action = "kms:*", Resource = "*", Principal = { AWS = "arn:aws:iam::111122223333:root" } },
      {
        Sid       = "LogGroups", Effect = "Allow", Resource = "*", Principal = { Service = "logs.us-east-1.amazonaws.com" }
        Action    = ["kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Encrypt", "kms:DescribeKey", "kms:Decrypt"]
        Condition = { ArnEquals = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes-data-processor" } }
      },
      {
        Sid    = "BucketNotifications", Effect = "Allow", Resource = "*", Principal = { Service = "s3.amazonaws.com" }
        Action = ["kms:GenerateDataKey", "kms:Decrypt"]
        Condition = {
          ArnEquals    = { "aws:SourceArn" = ["arn:aws:s3:::eyes-raw-data-1234abcd", "arn:aws:s3:::eyes-rejected-1234abcd"] }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
      },
      {
        Sid       = "Alarms", Effect = "Allow", Resource = "*", Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
        Condition = { ArnEquals = { "kms:EncryptionContext:aws:sns:topicArn" = "arn:aws:sns:us-east-1:111122223333:eyes-alarms" } }
      },
    ])
    error_message = "The key's policy changed: ${module.kms.policy}"
  }
}

run "queue_policies" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition = jsonencode(jsondecode(module.queue.policies.ingestion).Statement) == jsonencode([
      {
        Sid       = "DenyInsecureTransport", Effect = "Deny", Principal = "*", Action = "sqs:*"
        Resource  = "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid      = "RawBucketNotifies", Effect = "Allow", Action = "sqs:SendMessage", Principal = { Service = "s3.amazonaws.com" }
        Resource = "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion"
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::eyes-raw-data-1234abcd" }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
      },
    ])
    error_message = "The ingestion queue's policy changed: ${module.queue.policies.ingestion}"
  }
  assert {
    condition = jsonencode(jsondecode(module.queue.policies.dead_letter).Statement) == jsonencode([
      {
        Sid       = "DenyInsecureTransport", Effect = "Deny", Principal = "*", Action = "sqs:*"
        Resource  = "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ])
    error_message = "The dead-letter queue's policy changed: ${module.queue.policies.dead_letter}"
  }
}

run "topic_policy" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition = jsonencode(jsondecode(module.monitoring.topic_policy).Statement) == jsonencode([
      {
        Sid      = "AlarmsPublish", Effect = "Allow", Action = "sns:Publish", Principal = { Service = "cloudwatch.amazonaws.com" }
        Resource = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
        Condition = {
          ArnEquals = { "aws:SourceArn" = [
            for alarm in ["function-errors", "function-throttles", "function-duration", "rejected-files", "failed-files", "lost-events", "dead-letter-queue", "oldest-message", "nothing-processed"] : "arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-${alarm}"
          ] }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
      },
      {
        Sid       = "DenyInsecureTransport", Effect = "Deny", Action = "sns:Publish", Principal = "*"
        Resource  = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ])
    error_message = "The topic's policy changed: ${module.monitoring.topic_policy}"
  }
  assert {
    condition = jsonencode(jsondecode(module.rejections.policy).Statement) == jsonencode([
      {
        Sid      = "VerdictsPublish", Effect = "Allow", Action = "sns:Publish", Principal = { Service = "s3.amazonaws.com" }
        Resource = "arn:aws:sns:us-east-1:111122223333:eyes-rejections"
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::eyes-rejected-1234abcd" }
          StringEquals = { "aws:SourceAccount" = "111122223333" }
        }
      },
      {
        Sid       = "DenyInsecureTransport", Effect = "Deny", Action = "sns:Publish", Principal = "*"
        Resource  = "arn:aws:sns:us-east-1:111122223333:eyes-rejections"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ])
    error_message = "The policy of the topic for rejections changed: ${module.rejections.policy}"
  }
}

run "verdict_notification" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  override_resource {
    target          = module.rejections.aws_sns_topic.this
    override_during = plan
    values          = { arn = "arn:aws:sns:us-east-1:111122223333:eyes-rejections" }
  }

  assert {
    condition = (
      aws_s3_bucket_notification.rejected.bucket == "eyes-rejected-1234abcd" &&
      length(aws_s3_bucket_notification.rejected.lambda_function) + length(aws_s3_bucket_notification.rejected.queue) == 0 &&
      one(aws_s3_bucket_notification.rejected.topic).topic_arn == "arn:aws:sns:us-east-1:111122223333:eyes-rejections" &&
      one(aws_s3_bucket_notification.rejected.topic).events == toset(["s3:ObjectCreated:*"])
    )
    error_message = "Nobody is told of new verdicts."
  }
}

run "direct_trigger" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  assert {
    condition     = aws_lambda_permission.s3.principal == "s3.amazonaws.com" && aws_lambda_permission.s3.action == "lambda:InvokeFunction"
    error_message = "Only S3 may invoke the function."
  }
  assert {
    condition     = aws_lambda_permission.s3.source_arn == "arn:aws:s3:::eyes-raw-data-1234abcd"
    error_message = "Only the raw bucket may invoke the function."
  }
  assert {
    condition     = aws_lambda_permission.s3.source_account == "111122223333"
    error_message = "Only this account's bucket may invoke the function."
  }
  assert {
    condition     = aws_lambda_permission.s3.qualifier == "live"
    error_message = "S3 may invoke the alias only: a permission on the function does not count for it."
  }
  assert {
    condition     = aws_s3_bucket_notification.raw.bucket == "eyes-raw-data-1234abcd" && length(aws_s3_bucket_notification.raw.queue) == 0
    error_message = "In direct mode the raw bucket sends nothing to the queue."
  }
  assert {
    condition = (
      one(aws_s3_bucket_notification.raw.lambda_function).filter_suffix == ".json" &&
      one(aws_s3_bucket_notification.raw.lambda_function).lambda_function_arn == "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor:live" &&
      one(aws_s3_bucket_notification.raw.lambda_function).events == toset(["s3:ObjectCreated:*"])
    )
    error_message = "The notification must send created .json objects to the function."
  }
}

run "queue_trigger" {
  command = plan

  module {
    source = "./modules/pipeline"
  }

  variables {
    ingestion = { mode = "queue", maximum_concurrency = 7, batch_size = 3, batching_window_seconds = 5 }
  }

  assert {
    condition     = length(aws_s3_bucket_notification.raw.lambda_function) == 0
    error_message = "In queue mode S3 does not invoke the function itself."
  }
  assert {
    condition = (
      one(aws_s3_bucket_notification.raw.queue).filter_suffix == ".json" &&
      one(aws_s3_bucket_notification.raw.queue).queue_arn == "arn:aws:sqs:us-east-1:111122223333:eyes-ingestion" &&
      one(aws_s3_bucket_notification.raw.queue).events == toset(["s3:ObjectCreated:*"])
    )
    error_message = "The notification must send created .json objects to the queue."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.queue.function_name == "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor:live"
    error_message = "The queue must feed the alias, or a rollback would not reach it."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.queue.function_response_types == toset(["ReportBatchItemFailures"])
    error_message = "Without partial batches one bad file fails its neighbours."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.queue.scaling_config[0].maximum_concurrency == 7 && aws_lambda_event_source_mapping.queue.batch_size == 3
    error_message = "The queue's concurrency, or what it hands over at a time, is not bounded as set."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.queue.maximum_batching_window_in_seconds == 5 && local.visibility_timeout_seconds == 6 * 60 + 5
    error_message = "The visibility timeout must be six times the function's timeout plus the batching window."
  }
}

run "private_network_role" {
  command = plan

  module {
    source = "./modules/iam"
  }

  variables {
    role_name            = "eyes"
    function_arn         = "arn:aws:lambda:us-east-1:111122223333:function:eyes"
    raw_bucket_arn       = "arn:aws:s3:::eyes-raw"
    processed_bucket_arn = "arn:aws:s3:::eyes-processed"
    rejected_bucket_arn  = "arn:aws:s3:::eyes-rejected"
    removes_results      = false
    log_group_arn        = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes"
    queue_arns           = { ingestion = "arn:aws:sqs:us-east-1:111122223333:in", dead_letter = "arn:aws:sqs:us-east-1:111122223333:dead" }
    kms_key_arn          = "arn:aws:kms:us-east-1:111122223333:key/k"
    private_network      = true

    permissions_boundary_arn = "arn:aws:iam::111122223333:policy/boundary"
  }

  assert {
    condition     = aws_iam_role.execution.permissions_boundary == "arn:aws:iam::111122223333:policy/boundary"
    error_message = "The role is not bounded: whoever deploys could give the function every permission of the account."
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_role_policy.network[0].policy).Statement : statement if statement.Sid == "AttachToNetwork"]) == jsonencode([{
      Sid = "AttachToNetwork", Effect = "Allow", Resource = "*"
      Action = [
        "ec2:UnassignPrivateIpAddresses", "ec2:DescribeSubnets", "ec2:DescribeNetworkInterfaces",
        "ec2:DeleteNetworkInterface", "ec2:CreateNetworkInterface", "ec2:AssignPrivateIpAddresses",
      ]
    }])
    error_message = "The role cannot attach the function to its network, or can do more: ${aws_iam_role_policy.network[0].policy}"
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_role_policy.network[0].policy).Statement : statement if statement.Effect == "Deny"]) == jsonencode([{
      Sid       = "NotFromTheCode", Effect = "Deny", Action = "ec2:*", Resource = "*"
      Condition = { Null = { "lambda:SourceFunctionArn" = "false" } }
    }])
    error_message = "The function's own code can change the network: ${aws_iam_role_policy.network[0].policy}"
  }
  assert {
    condition = jsonencode(jsondecode(aws_iam_role.execution.assume_role_policy).Statement) == jsonencode([
      { Sid = "LambdaOnly", Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } },
    ])
    error_message = "Somebody else than Lambda may take on the role: ${aws_iam_role.execution.assume_role_policy}"
  }
}

run "key" {
  command = plan

  module {
    source = "./modules/kms"
  }

  variables {
    alias                = "eyes"
    partition            = "aws"
    deletion_window_days = 30
    log_group_arns       = ["arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes"]
    alarm_topic_arn      = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"

    notifying_bucket_arns = ["arn:aws:s3:::eyes-raw"]
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30 && aws_kms_alias.this.name == "alias/eyes"
    error_message = "The key must rotate and its deletion be revocable for 30 days."
  }
}

run "queues" {
  command = plan

  module {
    source = "./modules/queue"
  }

  override_resource {
    target          = aws_sqs_queue.dead_letter
    override_during = plan
    values          = { arn = "arn:aws:sqs:us-east-1:111122223333:dead" }
  }

  variables {
    names                      = { ingestion = "in", dead_letter = "dead" }
    arn_prefix                 = "arn:aws:sqs:us-east-1:111122223333:"
    source_bucket_arn          = "arn:aws:s3:::eyes-raw"
    kms_key_arn                = "arn:aws:kms:us-east-1:111122223333:key/k"
    visibility_timeout_seconds = 365
  }

  assert {
    condition     = alltrue([for queue in [aws_sqs_queue.ingestion, aws_sqs_queue.dead_letter] : queue.kms_master_key_id == "arn:aws:kms:us-east-1:111122223333:key/k" && queue.message_retention_seconds == 1209600])
    error_message = "Both queues must be encrypted with the environment's key and keep messages for 14 days."
  }
  assert {
    condition     = aws_sqs_queue.ingestion.visibility_timeout_seconds == 365
    error_message = "The visibility timeout is not the computed one."
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.ingestion.redrive_policy) == { deadLetterTargetArn = "arn:aws:sqs:us-east-1:111122223333:dead", maxReceiveCount = 5 }
    error_message = "What fails five times must go to the dead-letter queue: ${aws_sqs_queue.ingestion.redrive_policy}"
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.dead_letter.redrive_allow_policy) == { redrivePermission = "byQueue", sourceQueueArns = ["arn:aws:sqs:us-east-1:111122223333:in"] }
    error_message = "Other queues may use the dead-letter queue: ${aws_sqs_queue.dead_letter.redrive_allow_policy}"
  }
}

run "network" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    name               = "eyes"
    availability_zones = ["us-east-1a", "us-east-1b"]
    cidr_block         = "10.0.0.0/24"
    bucket_arns        = ["arn:aws:s3:::eyes-raw"]
    role_permissions   = "private-network"
  }

  # What a resource says of itself only after it is made: here, that nothing was added to it.
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
    error_message = "The network has one subnet in each of two zones."
  }
  assert {
    condition = jsonencode(jsondecode(aws_vpc_endpoint.s3.policy).Statement) == jsonencode([{
      Sid      = "OnlyTheseBuckets", Effect = "Allow", Principal = "*"
      Action   = ["s3:PutObject", "s3:ListBucket", "s3:GetObjectVersion", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
      Resource = ["arn:aws:s3:::eyes-raw/*", "arn:aws:s3:::eyes-raw"]
    }])
    error_message = "The way to S3 leads elsewhere: ${aws_vpc_endpoint.s3.policy}"
  }
  assert {
    condition     = aws_vpc_endpoint.s3.service_name == "com.amazonaws.us-east-1.s3" && aws_vpc_security_group_egress_rule.s3.from_port == 443 && aws_vpc_security_group_egress_rule.s3.to_port == 443 && aws_vpc_security_group_egress_rule.s3.cidr_ipv4 == null && aws_vpc_security_group_egress_rule.s3.cidr_ipv6 == null
    error_message = "The function may connect to S3 alone."
  }
  assert {
    condition     = length(aws_security_group.function.ingress) == 0 && length(aws_route_table.private.route) == 0
    error_message = "Somebody can connect to the function, or the network has another way out."
  }
  assert {
    condition     = length(aws_default_security_group.this.ingress) == 0 && length(aws_default_security_group.this.egress) == 0
    error_message = "The default security group must allow nothing."
  }
}

run "monitoring" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  override_resource {
    target          = module.alarms.aws_sns_topic.this
    override_during = plan
    values          = { arn = "arn:aws:sns:us-east-1:111122223333:eyes-alarms" }
  }

  variables {
    name            = "eyes"
    topic_arn       = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
    alarm_arns      = ["arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-function-errors"]
    kms_key_arn     = "arn:aws:kms:us-east-1:111122223333:key/k"
    alarm_emails    = ["oncall@example.org"]
    saved_queries   = true
    request_metrics = true
    watched = {
      function_name          = "eyes-data-processor", timeout_seconds = 60, log_group_name = "/aws/lambda/eyes-data-processor"
      metrics_namespace      = "Eyes", raw_bucket = "eyes-raw", ingestion_queue = "eyes-ingestion", dead_letter_queue = "eyes-dead-letter"
      oldest_message_seconds = 180, redelivery_seconds = 365, most_at_once = 7
    }
  }

  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.nothing_processed) : length(alarm.alarm_description) > 100 && length(alarm.alarm_description) <= 1024])
    error_message = "An alarm does not say what to look at and what to do, or more than AWS takes."
  }
  assert {
    condition = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.nothing_processed) :
      can(regex("\\nImpact: [^\\n]+\\n(?:[^\\n]+\\n)?Start with: [.]/deploy[.]sh \\w+ dev[^\\n]*\\nRunbook: docs/operations.md#${trimprefix(alarm.alarm_name, "eyes-")}\\n?$", alarm.alarm_description))
    ])
    error_message = "An alarm does not say its impact, the first command or its own section of the runbook."
  }
  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.nothing_processed) : alarm.alarm_actions == toset(["arn:aws:sns:us-east-1:111122223333:eyes-alarms"]) && alarm.ok_actions == toset(["arn:aws:sns:us-east-1:111122223333:eyes-alarms"])])
    error_message = "An alarm tells nobody."
  }
  assert {
    condition = jsonencode({ for query in aws_cloudwatch_metric_alarm.nothing_processed[0].metric_query : query.id => query.return_data == true ? query.expression : "${query.metric[0].namespace} ${query.metric[0].metric_name} ${query.metric[0].stat} ${query.metric[0].period} ${jsonencode(query.metric[0].dimensions)}" }) == jsonencode({
      failed    = "Eyes FilesFailed Sum 300 {\"service\":\"eyes-data-processor\"}"
      gone      = "Eyes FilesGone Sum 300 {\"service\":\"eyes-data-processor\"}"
      processed = "Eyes FilesProcessed Sum 300 {\"service\":\"eyes-data-processor\"}"
      rejected  = "Eyes FilesRejected Sum 300 {\"service\":\"eyes-data-processor\"}"
      stuck     = "FILL(IF(FILL(processed, 0) + FILL(rejected, 0) + FILL(failed, 0) + FILL(gone, 0) > 0, 0, IF(uploads > 0, 1)), REPEAT)"
      uploads   = "AWS/S3 PutRequests Sum 300 {\"BucketName\":\"eyes-raw\",\"FilterId\":\"EntireBucket\"}"
    })
    error_message = "The alarm for uploads that nobody processes watches something else: ${jsonencode(aws_cloudwatch_metric_alarm.nothing_processed[0].metric_query)}"
  }
  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.nothing_processed :
      alarm.comparison_operator == "GreaterThanThreshold" && alarm.threshold == 0 && alarm.evaluation_periods == 3 && alarm.datapoints_to_alarm == null && alarm.treat_missing_data == "ignore"
    ])
    error_message = "Nothing processed for 15 minutes must raise the alarm, and silence must not end it."
  }
  assert {
    condition     = aws_s3_bucket_metric.uploads[0].bucket == "eyes-raw" && aws_s3_bucket_metric.uploads[0].name == "EntireBucket" && length(aws_s3_bucket_metric.uploads[0].filter) == 0
    error_message = "The requests of another bucket, or not all, are counted."
  }
  assert {
    condition = jsonencode([for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets :
      { title = widget.properties.title, metrics = [for metric in try(widget.properties.metrics, []) : join(" ", [for part in metric : part if try(tostring(part), null) != null])] }
      ]) == jsonencode([
      { title = "Alarms", metrics = [] },
      { title = "Files by outcome", metrics = [
        "Eyes FilesProcessed service eyes-data-processor", "Eyes FilesRejected service eyes-data-processor",
        "Eyes FilesFailed service eyes-data-processor", "Eyes FilesGone service eyes-data-processor",
        "AWS/S3 PutRequests BucketName eyes-raw FilterId EntireBucket",
      ] },
      { title = "Records processed", metrics = ["Eyes RecordsProcessed service eyes-data-processor"] },
      { title = "Rejected files by reason", metrics = [""] },
      { title = "Processing time per file (ms)", metrics = [for statistic in ["p50", "p99", "Maximum"] : "Eyes ProcessingTime service eyes-data-processor"] },
      { title = "Duration per invocation (ms)", metrics = [for statistic in ["p50", "Maximum"] : "AWS/Lambda Duration FunctionName eyes-data-processor"] },
      { title = "Concurrent executions", metrics = ["AWS/Lambda ConcurrentExecutions FunctionName eyes-data-processor"] },
      { title = "Ingestion queue", metrics = [
        "AWS/SQS ApproximateNumberOfMessagesVisible QueueName eyes-ingestion", "AWS/SQS ApproximateNumberOfMessagesNotVisible QueueName eyes-ingestion",
        "AWS/SQS ApproximateAgeOfOldestMessage QueueName eyes-ingestion",
      ] },
      { title = "Errors and throttles", metrics = [
        "AWS/Lambda Errors FunctionName eyes-data-processor", "AWS/Lambda Throttles FunctionName eyes-data-processor",
        "AWS/Lambda DestinationDeliveryFailures FunctionName eyes-data-processor",
      ] },
      { title = "Dead-letter queue", metrics = ["AWS/SQS ApproximateNumberOfMessagesVisible QueueName eyes-dead-letter"] },
      { title = "Cost: invocations and duration", metrics = ["AWS/Lambda Invocations FunctionName eyes-data-processor", "AWS/Lambda Duration FunctionName eyes-data-processor"] },
      { title = "Cost: S3 and SQS requests", metrics = [
        "AWS/S3 AllRequests BucketName eyes-raw FilterId EntireBucket", "AWS/SQS NumberOfMessagesReceived QueueName eyes-ingestion",
        "AWS/SQS NumberOfEmptyReceives QueueName eyes-ingestion",
      ] },
      { title = "Cost: bytes read", metrics = ["Eyes BytesRead service eyes-data-processor"] },
    ])
    error_message = "The dashboard shows something else: ${aws_cloudwatch_dashboard.this.dashboard_body}"
  }
  assert {
    condition = jsonencode({ for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : widget.properties.title => [for limit in try(widget.properties.annotations.horizontal, []) : "${limit.value} ${limit.label}"] if length(try(widget.properties.annotations.horizontal, [])) > 0 }) == jsonencode({
      "Concurrent executions"        = ["7 limit"]
      "Duration per invocation (ms)" = ["60000 timeout"]
      "Ingestion queue"              = ["180 alarm threshold"]
    })
    error_message = "The dashboard shows other limits: ${aws_cloudwatch_dashboard.this.dashboard_body}"
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets[0].properties.alarms == ["arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-function-errors"]
    error_message = "The dashboard does not show the alarms."
  }
  assert {
    condition     = strcontains(aws_cloudwatch_dashboard.this.dashboard_body, "SEARCH('{Eyes,reason,service} MetricName=\\\"FilesRejected\\\" service=\\\"eyes-data-processor\\\"', 'Sum', 300)")
    error_message = "The dashboard does not tell the reasons of rejections: ${aws_cloudwatch_dashboard.this.dashboard_body}"
  }
  assert {
    condition = jsonencode({ for name, query in aws_cloudwatch_query_definition.this : name => [query.name, query.log_group_names, [for line in split("\n", trimspace(query.query_string)) : trimspace(line)]] }) == jsonencode({
      rejected-files = ["eyes/rejected-files", ["/aws/lambda/eyes-data-processor"], ["fields @timestamp, key, version_id, reason", "| filter message = \"rejected\"", "| sort @timestamp desc", "| limit 100"]]
      slowest-files  = ["eyes/slowest-files", ["/aws/lambda/eyes-data-processor"], ["fields @timestamp, key, milliseconds, bytes_in, records, rounds", "| filter message = \"processed\"", "| sort milliseconds desc", "| limit 100"]]
    })
    error_message = "A saved query looks for something else: ${jsonencode(aws_cloudwatch_query_definition.this)}"
  }
}

run "topic" {
  command = plan

  module {
    source = "./modules/topic"
  }

  variables {
    arn         = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
    kms_key_arn = "arn:aws:kms:us-east-1:111122223333:key/k"
    publisher   = { name = "Alarms", service = "cloudwatch.amazonaws.com", arns = [] }
    emails      = ["oncall@example.org"]
  }

  assert {
    condition     = aws_sns_topic.this.name == "eyes-alarms" && aws_sns_topic.this.kms_master_key_id == "arn:aws:kms:us-east-1:111122223333:key/k"
    error_message = "The topic must be encrypted with the environment's key."
  }
  assert {
    condition     = [for subscription in aws_sns_topic_subscription.email : "${subscription.protocol} ${subscription.endpoint}"] == ["email oncall@example.org"]
    error_message = "The addresses are not subscribed."
  }
}

run "shortest_time_limit" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    name            = "eyes"
    topic_arn       = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
    alarm_arns      = []
    kms_key_arn     = "arn:aws:kms:us-east-1:111122223333:key/k"
    alarm_emails    = []
    saved_queries   = true
    request_metrics = true
    watched = {
      function_name          = "eyes-data-processor", timeout_seconds = 20, log_group_name = "/aws/lambda/eyes-data-processor"
      metrics_namespace      = "Eyes", raw_bucket = "eyes-raw", ingestion_queue = "eyes-ingestion", dead_letter_queue = "eyes-dead-letter"
      oldest_message_seconds = 60, redelivery_seconds = 120, most_at_once = null
    }
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["function-duration"].threshold == 8000
    error_message = "The function stops after 10 of 20 seconds: the alarm must go off before."
  }
}

run "bucket" {
  command = plan

  module {
    source = "./modules/s3"
  }

  variables {
    name             = "eyes-raw"
    arn              = "arn:aws:s3:::eyes-raw"
    kms_key          = { arn = "arn:aws:kms:us-east-1:111122223333:key/k" }
    access_log       = { bucket = "eyes-log", prefix = "raw/" }
    lifecycle_days   = { noncurrent = 30, archive = 60 }
    object_lock_days = 365
    force_destroy    = false
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "Versioning is off."
  }
  assert {
    condition = (
      aws_s3_bucket_public_access_block.this.block_public_acls && aws_s3_bucket_public_access_block.this.block_public_policy &&
      aws_s3_bucket_public_access_block.this.ignore_public_acls && aws_s3_bucket_public_access_block.this.restrict_public_buckets
    )
    error_message = "Public access is not blocked in all four ways."
  }
  assert {
    condition     = aws_s3_bucket_ownership_controls.this.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "ACLs are on."
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0] == { sse_algorithm = "aws:kms", kms_master_key_id = "arn:aws:kms:us-east-1:111122223333:key/k" } && one(aws_s3_bucket_server_side_encryption_configuration.this.rule).bucket_key_enabled
    error_message = "Objects must be encrypted with the environment's key through a bucket key."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.abort_incomplete_multipart_upload[0].days_after_initiation if length(rule.abort_incomplete_multipart_upload) > 0] == [1]
    error_message = "Stale multipart uploads are not aborted after a day."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.noncurrent_version_expiration[0].noncurrent_days if length(rule.noncurrent_version_expiration) > 0] == [30]
    error_message = "Old versions do not expire after 30 days."
  }
  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.status == "Enabled"])
    error_message = "A lifecycle rule is off."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.expiration[0].expired_object_delete_marker if rule.id == "expire-noncurrent-versions"] == [true]
    error_message = "Delete markers without versions stay."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : [for step in rule.transition : "${step.days} ${step.storage_class}"] if length(rule.transition) > 0] == [["60 GLACIER_IR"]]
    error_message = "Objects do not move to cheaper storage after 60 days."
  }
  assert {
    condition     = aws_s3_bucket_logging.this[0].target_bucket == "eyes-log" && aws_s3_bucket_logging.this[0].target_prefix == "raw/"
    error_message = "Requests are not logged."
  }
  assert {
    condition     = aws_s3_bucket.this.object_lock_enabled && aws_s3_bucket_object_lock_configuration.this[0].rule[0].default_retention[0].days == 365
    error_message = "Versions are not locked."
  }
}

run "function" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    name                  = "eyes"
    log_group_name        = "/aws/lambda/eyes"
    package               = "build/function.zip"
    role_arn              = "arn:aws:iam::111122223333:role/eyes"
    layer_arns            = ["arn:aws:lambda:us-east-1:111122223333:layer:eyes:1"]
    environment_variables = { PROCESSED_BUCKET = "eyes-processed" }
    kms_key_arn           = "arn:aws:kms:us-east-1:111122223333:key/k"
    failure_queue_arn     = "arn:aws:sqs:us-east-1:111122223333:eyes"
    network               = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
    settings              = { architecture = "arm64", memory_mb = 512, timeout_seconds = 60, log_retention_days = 14, reserved_concurrency = 3 }
  }

  assert {
    condition     = aws_lambda_function.this.runtime == "python3.12" && aws_lambda_function.this.handler == "lambda_function.lambda_handler"
    error_message = "The function runs lambda_function.lambda_handler on Python 3.12."
  }
  assert {
    condition     = aws_lambda_function.this.architectures == tolist(["arm64"]) && aws_lambda_function.this.memory_size == 512 && aws_lambda_function.this.timeout == 60
    error_message = "The function's size is not what the settings say."
  }
  assert {
    condition     = aws_lambda_function.this.layers == tolist(["arn:aws:lambda:us-east-1:111122223333:layer:eyes:1"])
    error_message = "The function lacks its layer."
  }
  assert {
    condition     = aws_lambda_function.this.source_code_hash == filebase64sha256("build/function.zip")
    error_message = "A changed package would not be deployed."
  }
  assert {
    condition     = aws_lambda_function.this.logging_config[0].log_format == "JSON" && aws_lambda_function.this.logging_config[0].log_group == "/aws/lambda/eyes"
    error_message = "The function must log JSON into its own group."
  }
  assert {
    condition     = aws_lambda_function.this.logging_config[0].application_log_level == "INFO"
    error_message = "Above the level INFO, Lambda drops the metrics."
  }
  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/eyes" && aws_cloudwatch_log_group.this.retention_in_days == 14
    error_message = "The log is kept for 14 days."
  }
  assert {
    condition     = aws_cloudwatch_log_group.this.kms_key_id == "arn:aws:kms:us-east-1:111122223333:key/k" && aws_lambda_function.this.kms_key_arn == "arn:aws:kms:us-east-1:111122223333:key/k"
    error_message = "Log and environment variables must be encrypted with the environment's key."
  }
  assert {
    condition     = aws_lambda_function.this.tracing_config[0].mode == "Active" && aws_lambda_function.this.reserved_concurrent_executions == 3
    error_message = "Tracing is off or the concurrency not the reserved one."
  }
  assert {
    condition     = aws_lambda_function.this.vpc_config[0].subnet_ids == toset(["subnet-1"]) && aws_lambda_function.this.vpc_config[0].security_group_ids == toset(["sg-1"])
    error_message = "The function is not in its network."
  }
  assert {
    condition = (
      aws_lambda_function_event_invoke_config.this.qualifier == aws_lambda_alias.live.name &&
      aws_lambda_function_event_invoke_config.this.maximum_retry_attempts == 2 &&
      aws_lambda_function_event_invoke_config.this.maximum_event_age_in_seconds == 21600 &&
      aws_lambda_function_event_invoke_config.this.destination_config[0].on_failure[0].destination == "arn:aws:sqs:us-east-1:111122223333:eyes"
    )
    error_message = "A failed event must be retried twice within six hours and then go to the failure queue."
  }
  assert {
    condition     = aws_lambda_function.this.publish && aws_lambda_alias.live.name == "live"
    error_message = "Without published versions and an alias there is nothing to roll back to."
  }
}

run "layer" {
  command = plan

  module {
    source = "./modules/layers"
  }

  variables {
    name         = "eyes"
    package      = "build/layer-arm64.zip"
    architecture = "arm64"
  }

  assert {
    condition     = aws_lambda_layer_version.this.compatible_runtimes == toset(["python3.12"]) && aws_lambda_layer_version.this.compatible_architectures == toset(["arm64"])
    error_message = "The layer is for Python 3.12 on the function's processor."
  }
  assert {
    condition     = aws_lambda_layer_version.this.source_code_hash == filebase64sha256("build/layer-arm64.zip")
    error_message = "A changed layer package would not be deployed."
  }
}
