# Who may assume which role, what each may do, and how the states are kept.

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
  target          = aws_s3_bucket.state
  override_during = plan
  values          = { id = "eyes-tfstate-111122223333-us-east-1" }
}

variables {
  project_name = "eyes"
  environments = ["dev", "prod"]
  github       = { repository = "acme/retina" }
}

run "trust" {
  command = plan

  assert {
    condition = jsonencode({ for role, document in data.aws_iam_policy_document.trust : role => jsondecode(document.json).Statement }) == jsonencode({
      for role, subjects in {
        dev-apply  = "repo:acme/retina:environment:dev"
        dev-plan   = "repo:acme/retina:environment:dev-plan"
        prod-apply = "repo:acme/retina:environment:prod"
        prod-plan  = "repo:acme/retina:environment:prod-plan"
        } : role => [{
          Sid       = "GitHub", Effect = "Allow", Action = "sts:AssumeRoleWithWebIdentity"
          Principal = { Federated = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com" }
          Condition = { StringEquals = merge(
            { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com" },
            endswith(role, "-apply") ? { "token.actions.githubusercontent.com:ref" = "refs/heads/main" } : {},
            { "token.actions.githubusercontent.com:sub" = subjects },
          ) }
      }]
    })
    error_message = "Not only the expected jobs can assume a role: ${jsonencode({ for role, document in data.aws_iam_policy_document.trust : role => document.json })}"
  }
  assert {
    condition     = alltrue([for key, role in aws_iam_role.github : role.name == "eyes-github-${key}" && jsonencode(jsondecode(role.assume_role_policy)) == jsonencode(jsondecode(data.aws_iam_policy_document.trust[key].json))])
    error_message = "A role has another name, or another trust policy than the one compared here."
  }
  assert {
    condition     = aws_iam_openid_connect_provider.github[0].url == "https://token.actions.githubusercontent.com" && aws_iam_openid_connect_provider.github[0].client_id_list == toset(["sts.amazonaws.com"])
    error_message = "The roles trust tokens of another issuer or for another audience."
  }
  assert {
    condition     = jsonencode({ for key, role in local.roles : key => sort([for attachment in values(local.attachments) : attachment.policy if attachment.role == key]) }) == jsonencode({ dev-apply = ["dev-data", "dev-function", "dev-monitoring", "dev-network", "dev-read"], dev-plan = ["dev-read"], prod-apply = ["prod-data", "prod-function", "prod-monitoring", "prod-network", "prod-read"], prod-plan = ["prod-read"] })
    error_message = "A role has permissions of another environment, or the plan role may change something."
  }
}

run "repository_with_ids_in_its_subjects" {
  command = plan

  variables {
    environments = ["dev"]
    github = {
      repository           = "acme/retina"
      subject_prefixes     = ["repo:acme@123/retina@456", "repo:acme/retina"]
      branch               = "release/1.x"
      create_oidc_provider = false
    }
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.trust["dev-apply"].json).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"] == ["repo:acme@123/retina@456:environment:dev", "repo:acme/retina:environment:dev"]
    error_message = "The role does not trust exactly the given subjects: ${data.aws_iam_policy_document.trust["dev-apply"].json}"
  }
  assert {
    condition     = jsondecode(data.aws_iam_policy_document.trust["dev-apply"].json).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:ref"] == "refs/heads/release/1.x"
    error_message = "The role does not trust exactly the given branch: ${data.aws_iam_policy_document.trust["dev-apply"].json}"
  }
  assert {
    condition     = length(aws_iam_openid_connect_provider.github) == 0 && jsondecode(data.aws_iam_policy_document.trust["dev-plan"].json).Statement[0].Principal.Federated == "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
    error_message = "An existing OIDC provider must be used and not created again."
  }
}

run "no_repository_no_roles" {
  command = plan

  variables {
    github = null
  }

  assert {
    condition     = length(aws_iam_role.github) + length(aws_iam_policy.github) + length(aws_iam_role_policy_attachment.github) + length(aws_iam_openid_connect_provider.github) == 0
    error_message = "Roles are created although no repository is set."
  }
  assert {
    condition     = length(output.github_roles) == 0
    error_message = "The output names roles that do not exist."
  }
}

run "plan_reads_configuration_only" {
  command = plan

  assert {
    condition = alltrue(flatten([for statement in jsondecode(aws_iam_policy.github["dev-read"].policy).Statement : [
      for action in flatten([statement.Action]) : can(regex("^[a-z0-9]+:(Get|List|Describe)[A-Za-z]+$", action)) || action == "s3:GetBucket*" || statement.Sid == "ReadFunctionVariables"
    ]]))
    error_message = "The plan role may change something: ${aws_iam_policy.github["dev-read"].policy}"
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_policy.github["dev-read"].policy).Statement : "${statement.Sid} ${jsonencode(statement.Action)} ${jsonencode(statement.Resource)}"
      if anytrue([for action in flatten([statement.Action]) : can(regex("(?i)object|\\*|:GetLog|:Filter|Query$|:Receive|:Invoke|Secret|:GetParameter|^kms:(Get[^K]|Decrypt|Gen)", action))]) && !contains(["ReadBuckets"], statement.Sid)
    ]) == jsonencode(["ReadState \"s3:GetObject\" \"arn:aws:s3:::eyes-tfstate-111122223333-us-east-1/dev/terraform.tfstate\"", "ReadFunctionVariables \"kms:Decrypt\" \"arn:aws:kms:us-east-1:111122223333:key/*\""])
    error_message = "The plan role may read more than configuration and its own state: ${aws_iam_policy.github["dev-read"].policy}"
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_policy.github["dev-read"].policy).Statement : statement if statement.Sid == "ReadBuckets"]) == jsonencode([{
      Sid      = "ReadBuckets", Effect = "Allow"
      Action   = ["s3:ListBucket", "s3:GetReplicationConfiguration", "s3:GetMetricsConfiguration", "s3:GetLifecycleConfiguration", "s3:GetEncryptionConfiguration", "s3:GetBucket*", "s3:GetAccelerateConfiguration"]
      Resource = ["arn:aws:s3:::eyes-rejected-????????", "arn:aws:s3:::eyes-raw-data-????????", "arn:aws:s3:::eyes-processed-data-????????", "arn:aws:s3:::eyes-access-log-????????"]
    }])
    error_message = "The plan role may read other things of the buckets: ${aws_iam_policy.github["dev-read"].policy}"
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_policy.github["dev-read"].policy).Statement : try(statement.Condition, null) if statement.Sid == "ReadFunctionVariables"]) == jsonencode([{
      StringEquals = { "aws:ResourceTag/Environment" = "dev", "aws:ResourceTag/Project" = "eyes", "kms:ViaService" = "lambda.us-east-1.amazonaws.com" }
      StringLike   = { "kms:EncryptionContext:aws:lambda:FunctionArn" = ["arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor", "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor:*"] }
    }])
    error_message = "The plan role may decrypt more than the function's environment variables: ${aws_iam_policy.github["dev-read"].policy}"
  }
}

run "people" {
  command = plan

  variables {
    key_prefixes = { prod = "clinic-a/" }
  }

  assert {
    condition     = join(" ", sort([for policy in aws_iam_policy.people : policy.name])) == "eyes-eraser eyes-prod-eraser eyes-prod-reader eyes-prod-uploader eyes-reader eyes-uploader"
    error_message = "A policy for people has another name: ${jsonencode(keys(aws_iam_policy.people))}"
  }
  assert {
    condition = jsonencode({ for key in ["eyes-uploader", "eyes-prod-uploader"] : key => jsondecode(aws_iam_policy.people[key].policy).Statement }) == jsonencode({
      for key, environment in { eyes-uploader = "dev", eyes-prod-uploader = "prod" } : key => [
        {
          Sid       = "Upload", Effect = "Allow", Action = ["s3:PutObject", "s3:AbortMultipartUpload"]
          Resource  = { dev = "arn:aws:s3:::eyes-raw-data-????????/*", prod = "arn:aws:s3:::eyes-prod-raw-data-????????/clinic-a/*" }[environment]
          Condition = { StringEquals = { "aws:ResourceAccount" = "111122223333" } }
        },
        {
          Sid = "EncryptUploads", Effect = "Allow", Action = ["kms:GenerateDataKey", "kms:Decrypt"], Resource = "arn:aws:kms:us-east-1:111122223333:key/*"
          Condition = {
            StringEquals = { "aws:ResourceTag/Environment" = environment, "aws:ResourceTag/Project" = "eyes", "kms:ViaService" = "s3.us-east-1.amazonaws.com" }
            StringLike = { "kms:EncryptionContext:aws:s3:arn" = {
              dev  = ["arn:aws:s3:::eyes-raw-data-????????", "arn:aws:s3:::eyes-raw-data-????????/*"]
              prod = ["arn:aws:s3:::eyes-prod-raw-data-????????", "arn:aws:s3:::eyes-prod-raw-data-????????/*"]
            }[environment] }
          }
        },
      ]
    })
    error_message = "Uploaders cannot upload, or may do more than that: ${aws_iam_policy.people["eyes-uploader"].policy} ${aws_iam_policy.people["eyes-prod-uploader"].policy}"
  }
  assert {
    condition = jsonencode(jsondecode(aws_iam_policy.people["eyes-prod-reader"].policy).Statement) == jsonencode([
      {
        Sid       = "Read", Effect = "Allow", Action = "s3:GetObject", Resource = "arn:aws:s3:::eyes-prod-processed-data-????????/clinic-a/*"
        Condition = { StringEquals = { "aws:ResourceAccount" = "111122223333" } }
      },
      {
        Sid = "List", Effect = "Allow", Action = "s3:ListBucket", Resource = "arn:aws:s3:::eyes-prod-processed-data-????????"
        Condition = {
          StringEquals = { "aws:ResourceAccount" = "111122223333" }
          StringLike   = { "s3:prefix" = "clinic-a/*" }
        }
      },
      {
        Sid = "DecryptResults", Effect = "Allow", Action = "kms:Decrypt", Resource = "arn:aws:kms:us-east-1:111122223333:key/*"
        Condition = {
          StringEquals = { "aws:ResourceTag/Environment" = "prod", "aws:ResourceTag/Project" = "eyes", "kms:ViaService" = "s3.us-east-1.amazonaws.com" }
          StringLike   = { "kms:EncryptionContext:aws:s3:arn" = ["arn:aws:s3:::eyes-prod-processed-data-????????", "arn:aws:s3:::eyes-prod-processed-data-????????/*"] }
        }
      },
    ])
    error_message = "Readers cannot read, or may do more than that: ${aws_iam_policy.people["eyes-prod-reader"].policy}"
  }
  assert {
    condition     = length([for key, policy in aws_iam_policy.github : key if can(regex("-(uploader|reader|eraser)", policy.policy))]) == 0
    error_message = "GitHub's roles may change the policies for people."
  }
}

# Only in these buckets, only versions, and never locked ones.
run "eraser" {
  command = plan

  assert {
    condition = jsonencode(sort([for statement in jsondecode(aws_iam_policy.people["eyes-eraser"].policy).Statement : "${statement.Sid}: ${join(" ", flatten([statement.Action]))}"])) == jsonencode([
      "CountMessages: sqs:GetQueueAttributes",
      "DecryptFailedEvents: kms:Decrypt",
      "EraseVersions: s3:DeleteObjectVersion",
      "ListVersions: s3:ListBucketVersions s3:ListBucketMultipartUploads s3:ListBucket",
      "LookIntoQueue: sqs:ReceiveMessage sqs:ChangeMessageVisibility",
      "ReadState: s3:GetObject",
      "ReadVersions: s3:GetObjectVersionTagging s3:GetObjectVersion s3:GetObjectRetention s3:GetObjectLegalHold s3:GetObject",
      "RewriteFiles: s3:PutObjectTagging s3:PutObject s3:AbortMultipartUpload",
      "UseKeyForProcessedData: kms:GenerateDataKey kms:Decrypt",
      "UseKeyForRawData: kms:GenerateDataKey kms:Decrypt",
      "UseKeyForRejected: kms:GenerateDataKey kms:Decrypt",
    ])
    error_message = "Erasers cannot erase, or may do more than that: ${aws_iam_policy.people["eyes-eraser"].policy}"
  }
  assert {
    condition     = !strcontains(aws_iam_policy.people["eyes-eraser"].policy, "MultiFactor")
    error_message = "MFA is required although the setting is off."
  }
}

run "eraser_with_mfa" {
  command = plan

  variables {
    eraser_requires_mfa = true
  }

  assert {
    condition = jsonencode({ for statement in jsondecode(aws_iam_policy.people["eyes-eraser"].policy).Statement : statement.Sid => statement.Condition if strcontains(jsonencode(statement), "MultiFactor") }) == jsonencode({
      for sid in ["EraseVersions", "RewriteFiles"] : sid => {
        Bool         = { "aws:MultiFactorAuthPresent" = "true" }
        StringEquals = { "aws:ResourceAccount" = "111122223333" }
      }
    })
    error_message = "Files can be changed without MFA: ${aws_iam_policy.people["eyes-eraser"].policy}"
  }
}

run "role_of_the_function" {
  command = plan

  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_policy.github["dev-function"].policy).Statement : statement if anytrue([for action in flatten([statement.Action]) : startswith(action, "iam:")])]) == jsonencode([
      {
        Sid       = "ManageRoleWithinBoundary", Effect = "Allow", Resource = "arn:aws:iam::111122223333:role/eyes-data-processor"
        Action    = ["iam:PutRolePolicy", "iam:PutRolePermissionsBoundary", "iam:DeleteRolePolicy", "iam:CreateRole"]
        Condition = { StringEquals = { "iam:PermissionsBoundary" = "arn:aws:iam::111122223333:policy/eyes-github-dev-boundary" } }
      },
      {
        Sid    = "ManageRole", Effect = "Allow", Resource = "arn:aws:iam::111122223333:role/eyes-data-processor"
        Action = ["iam:UpdateRoleDescription", "iam:UpdateRole", "iam:UpdateAssumeRolePolicy", "iam:UntagRole", "iam:TagRole", "iam:ListInstanceProfilesForRole", "iam:DeleteRole"]
      },
      {
        Sid       = "PassRole", Effect = "Allow", Action = "iam:PassRole", Resource = "arn:aws:iam::111122223333:role/eyes-data-processor"
        Condition = { StringEquals = { "iam:PassedToService" = "lambda.amazonaws.com" } }
      },
    ])
    error_message = "The apply role may give permissions to itself or others: ${aws_iam_policy.github["dev-function"].policy}"
  }
  assert {
    condition = alltrue(flatten([for key, policy in aws_iam_policy.github : [for statement in jsondecode(policy.policy).Statement : [
      for action in flatten([statement.Action]) : !can(regex("^(iam|sts):|^\\*$", action)) || contains(["ManageRoleWithinBoundary", "ManageRole", "PassRole", "ReadRole"], statement.Sid)
    ]]]))
    error_message = "Another statement allows actions on roles."
  }
  assert {
    condition = jsonencode(jsondecode(aws_iam_policy.github["dev-boundary"].policy).Statement) == jsonencode([
      { Sid = "Read", Effect = "Allow", Action = ["s3:GetObjectVersion", "s3:GetObject"], Resource = "arn:aws:s3:::eyes-raw-data-????????/*" },
      { Sid = "List", Effect = "Allow", Action = "s3:ListBucket", Resource = ["arn:aws:s3:::eyes-rejected-????????", "arn:aws:s3:::eyes-raw-data-????????", "arn:aws:s3:::eyes-processed-data-????????"] },
      { Sid = "Write", Effect = "Allow", Action = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], Resource = "arn:aws:s3:::eyes-processed-data-????????/*" },
      { Sid = "Judge", Effect = "Allow", Action = ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"], Resource = "arn:aws:s3:::eyes-rejected-????????/*" },
      { Sid = "Log", Effect = "Allow", Action = ["logs:PutLogEvents", "logs:CreateLogStream"], Resource = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes-data-processor:*" },
      {
        Sid      = "Queues", Effect = "Allow", Action = ["sqs:SendMessage", "sqs:ReceiveMessage", "sqs:GetQueueAttributes", "sqs:DeleteMessage"]
        Resource = ["arn:aws:sqs:us-east-1:111122223333:eyes-ingestion", "arn:aws:sqs:us-east-1:111122223333:eyes-dead-letter"]
      },
      {
        Sid      = "UseKey", Effect = "Allow", Action = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource = "arn:aws:kms:us-east-1:111122223333:key/*"
        Condition = { StringEquals = {
          "aws:ResourceTag/Environment" = "dev", "aws:ResourceTag/Project" = "eyes"
          "kms:ViaService"              = ["s3.us-east-1.amazonaws.com", "sqs.us-east-1.amazonaws.com"]
        } }
      },
      {
        Sid      = "ReadOwnVariables", Effect = "Allow", Action = "kms:Decrypt"
        Resource = "arn:aws:kms:us-east-1:111122223333:key/*"
        Condition = {
          StringEquals = { "aws:ResourceTag/Environment" = "dev", "aws:ResourceTag/Project" = "eyes" }
          StringLike   = { "kms:EncryptionContext:aws:lambda:FunctionArn" = ["arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor", "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor:*"] }
        }
      },
      {
        Sid = "TracesAndInterfaces", Effect = "Allow", Resource = "*"
        Action = [
          "xray:PutTraceSegments", "xray:PutTelemetryRecords", "ec2:UnassignPrivateIpAddresses", "ec2:DescribeSubnets",
          "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface", "ec2:CreateNetworkInterface", "ec2:AssignPrivateIpAddresses",
        ]
      },
    ])
    error_message = "The boundary of the function's role changed: ${aws_iam_policy.github["dev-boundary"].policy}"
  }
}

run "objects" {
  command = plan

  assert {
    condition = jsonencode({ for environment in ["dev", "prod"] : environment => [
      for statement in jsondecode(aws_iam_policy.github["${environment}-data"].policy).Statement : "${statement.Sid} ${jsonencode(statement.Action)} ${jsonencode(statement.Resource)}"
      if anytrue([for action in flatten([statement.Action]) : can(regex("Object(Version)?$", action))])
      ] }) == jsonencode({
      dev = [
        "WriteState \"s3:PutObject\" \"arn:aws:s3:::eyes-tfstate-111122223333-us-east-1/dev/terraform.tfstate\"",
        "LockState [\"s3:PutObject\",\"s3:GetObject\",\"s3:DeleteObject\"] \"arn:aws:s3:::eyes-tfstate-111122223333-us-east-1/dev/terraform.tfstate.tflock\"",
        "SmokeTest [\"s3:PutObject\",\"s3:GetObject\",\"s3:DeleteObjectVersion\",\"s3:DeleteObject\"] [\"arn:aws:s3:::eyes-raw-data-????????/smoke-test/*\",\"arn:aws:s3:::eyes-processed-data-????????/smoke-test/*\"]",
        "EmptyBuckets [\"s3:DeleteObjectVersion\",\"s3:DeleteObject\"] [\"arn:aws:s3:::eyes-rejected-????????/*\",\"arn:aws:s3:::eyes-raw-data-????????/*\",\"arn:aws:s3:::eyes-processed-data-????????/*\",\"arn:aws:s3:::eyes-access-log-????????/*\"]",
      ]
      prod = [
        "WriteState \"s3:PutObject\" \"arn:aws:s3:::eyes-tfstate-111122223333-us-east-1/prod/terraform.tfstate\"",
        "LockState [\"s3:PutObject\",\"s3:GetObject\",\"s3:DeleteObject\"] \"arn:aws:s3:::eyes-tfstate-111122223333-us-east-1/prod/terraform.tfstate.tflock\"",
        "SmokeTest [\"s3:PutObject\",\"s3:GetObject\",\"s3:DeleteObjectVersion\",\"s3:DeleteObject\"] [\"arn:aws:s3:::eyes-prod-raw-data-????????/smoke-test/*\",\"arn:aws:s3:::eyes-prod-processed-data-????????/smoke-test/*\"]",
      ]
    })
    error_message = "The apply role may read or change objects other than its state, the smoke test's and, in disposable environments, all objects: ${aws_iam_policy.github["dev-data"].policy} ${aws_iam_policy.github["prod-data"].policy}"
  }
  assert {
    condition = jsonencode({ for environment in ["dev", "prod"] : environment => [
      for statement in jsondecode(aws_iam_policy.github["${environment}-data"].policy).Statement : statement.Sid if contains(flatten([statement.Action]), "kms:ScheduleKeyDeletion")
    ] }) == jsonencode({ dev = ["DeleteKey"], prod = [] })
    error_message = "GitHub may delete the key of an environment that is not disposable."
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_policy.github["prod-data"].policy).Statement : statement if contains(flatten([statement.Action]), "kms:PutKeyPolicy")]) == jsonencode([{
      Sid = "SetUpNewKey", Effect = "Allow", Action = ["kms:PutKeyPolicy", "kms:EnableKeyRotation", "kms:CreateAlias"], Resource = "arn:aws:kms:us-east-1:111122223333:key/*"
      Condition = {
        BoolIfExists         = { "kms:BypassPolicyLockoutSafetyCheck" = "false" }
        Null                 = { "kms:ResourceAliases" = "true" }
        StringEqualsIfExists = { "aws:ResourceTag/Environment" = "prod", "aws:ResourceTag/Project" = "eyes" }
      }
      }, {
      Sid = "SetKeyPolicy", Effect = "Allow", Action = "kms:PutKeyPolicy", Resource = "arn:aws:kms:us-east-1:111122223333:key/*"
      Condition = {
        BoolIfExists = { "kms:BypassPolicyLockoutSafetyCheck" = "false" }
        StringEquals = { "aws:ResourceTag/Environment" = "prod", "aws:ResourceTag/Project" = "eyes" }
      }
    }])
    error_message = "The apply role may lock everybody out of the key: ${aws_iam_policy.github["prod-data"].policy}"
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_policy.github["dev-data"].policy).Statement : [statement.Action, try(statement.Condition, null)] if statement.Sid == "SmokeTestKey"]) == jsonencode([[["kms:GenerateDataKey", "kms:Decrypt"], {
      StringEquals = { "aws:ResourceTag/Environment" = "dev", "aws:ResourceTag/Project" = "eyes", "kms:ViaService" = "s3.us-east-1.amazonaws.com" }
      StringLike = { "kms:EncryptionContext:aws:s3:arn" = [
        "arn:aws:s3:::eyes-raw-data-????????", "arn:aws:s3:::eyes-raw-data-????????/smoke-test/*",
        "arn:aws:s3:::eyes-processed-data-????????", "arn:aws:s3:::eyes-processed-data-????????/smoke-test/*",
      ] }
    }]])
    error_message = "The smoke test may use the key for something else: ${aws_iam_policy.github["dev-data"].policy}"
  }
}

run "everything_is_named" {
  command = plan

  # Statements on "*" that allow changes. policies.tf says why each is needed.
  assert {
    condition = jsonencode(flatten([for policy in ["read", "data", "function", "monitoring", "network", "boundary"] : [
      for statement in jsondecode(aws_iam_policy.github["dev-${policy}"].policy).Statement : "${policy}/${statement.Sid}: ${join(" ", flatten([statement.Action]))}"
      if contains(flatten([statement.Resource]), "*") && anytrue([for action in flatten([statement.Action]) : !can(regex("^[a-z0-9]+:(Get|List|Describe)", action))])
      ]])) == jsonencode([
      "data/CreateKey: kms:CreateKey",
      "function/ManageMapping: lambda:UpdateEventSourceMapping lambda:DeleteEventSourceMapping lambda:CreateEventSourceMapping",
      "monitoring/ManageUnnamed: sns:Unsubscribe logs:PutQueryDefinition logs:DeleteQueryDefinition",
      "boundary/TracesAndInterfaces: xray:PutTraceSegments xray:PutTelemetryRecords ec2:UnassignPrivateIpAddresses ec2:DescribeSubnets ec2:DescribeNetworkInterfaces ec2:DeleteNetworkInterface ec2:CreateNetworkInterface ec2:AssignPrivateIpAddresses",
    ])
    error_message = "Another statement allows changes to any resource."
  }
  assert {
    condition = sort([for statement in jsondecode(aws_iam_policy.github["dev-network"].policy).Statement : join(" ", flatten([statement.Action, statement.Resource])) if startswith(statement.Sid, "Create")]) == sort([
      for action, kind in { CreateVpc = "vpc", CreateRouteTable = "route-table", CreateSecurityGroup = "security-group", CreateSubnet = "subnet", CreateVpcEndpoint = "vpc-endpoint", AuthorizeSecurityGroupEgress = "security-group-rule" } :
      "ec2:${action} arn:aws:ec2:us-east-1:111122223333:${kind}/*"
    ])
    error_message = "The apply role may create resources inside networks of others: ${aws_iam_policy.github["dev-network"].policy}"
  }
  assert {
    condition     = jsonencode([for statement in jsondecode(aws_iam_policy.github["dev-function"].policy).Statement : try(statement.Condition, null) if statement.Sid == "ManageMapping"]) == jsonencode([{ ArnEquals = { "lambda:FunctionArn" = ["arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor", "arn:aws:lambda:us-east-1:111122223333:function:eyes-data-processor:live"] } }])
    error_message = "The apply role may connect event sources to other functions: ${aws_iam_policy.github["dev-function"].policy}"
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_policy.github["dev-monitoring"].policy).Statement : try(statement.Condition, null) if contains(flatten([statement.Action]), "cloudwatch:PutMetricAlarm")]) == jsonencode([{ "ForAllValues:StringEquals" = { "cloudwatch:AlarmActions" = [
      "arn:aws:sns:us-east-1:111122223333:eyes-alarms", "arn:aws:sns:us-east-1:111122223333:eyes-rejections",
    ] } }])
    error_message = "The apply role may create alarms that do more than notify their topic: ${aws_iam_policy.github["dev-monitoring"].policy}"
  }

  # Resources that AWS names are told apart by this environment's tags.
  assert {
    condition = alltrue(flatten([for environment in ["dev", "prod"] : [for policy in ["read", "data", "function", "monitoring", "network", "boundary"] : [
      for statement in jsondecode(aws_iam_policy.github["${environment}-${policy}"].policy).Statement : anytrue([
        try(statement.Condition.StringEquals["aws:ResourceTag/Environment"] == environment && statement.Condition.StringEquals["aws:ResourceTag/Project"] == "eyes", false),
        try(statement.Condition.StringEquals["aws:RequestTag/Environment"] == environment && statement.Condition.StringEquals["aws:RequestTag/Project"] == "eyes", false),
        contains(["List", "ReadKey", "ReadMapping", "SetUpNewKey", "ManageMapping", "TagMapping", "ManageUnnamed", "TagNewParts", "DeleteInterfaces", "TracesAndInterfaces"], statement.Sid),
      ]) if anytrue([for resource in flatten([statement.Resource]) : !strcontains(resource, environment == "dev" ? "eyes-" : "eyes-prod") && !can(regex("(:alias/|:dashboard/|:key-alias/)eyes$|tfstate", resource))])
    ]]]))
    error_message = "A statement on resources that AWS names does not require this environment's tags."
  }
  assert {
    condition = jsonencode([for statement in concat(jsondecode(aws_iam_policy.github["dev-data"].policy).Statement, jsondecode(aws_iam_policy.github["dev-network"].policy).Statement) : [statement.Action, try(statement.Condition, null)] if contains(["TagNewKey", "AdoptDefaultSecurityGroup", "TagNewParts"], statement.Sid)]) == jsonencode([
      ["kms:TagResource", {
        Null                 = { "kms:ResourceAliases" = "true" }
        StringEquals         = { "aws:RequestTag/Environment" = "dev", "aws:RequestTag/Project" = "eyes" }
        StringEqualsIfExists = { "aws:ResourceTag/Environment" = "dev", "aws:ResourceTag/Project" = "eyes" }
      }],
      ["ec2:CreateTags", { StringEquals = { "ec2:CreateAction" = ["AuthorizeSecurityGroupEgress", "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet", "CreateVpc", "CreateVpcEndpoint"] } }],
      ["ec2:CreateTags", {
        StringEquals         = { "aws:RequestTag/Environment" = "dev", "aws:RequestTag/Project" = "eyes" }
        StringEqualsIfExists = { "aws:ResourceTag/Environment" = "dev", "aws:ResourceTag/Project" = "eyes" }
      }],
    ])
    error_message = "The apply role may put its tags on another environment's resources and so take them over."
  }

  # The prefix of dev also starts prod's names: no pattern of dev may match a name of prod or of a GitHub role.
  assert {
    condition = alltrue(flatten([for policy in ["read", "data", "function", "monitoring", "network", "boundary"] : [
      for resource in flatten([for statement in jsondecode(aws_iam_policy.github["dev-${policy}"].policy).Statement : statement.Resource]) : [
        for name in [
          "arn:aws:s3:::eyes-prod-raw-data-1234abcd", "arn:aws:s3:::eyes-prod-processed-data-1234abcd", "arn:aws:s3:::eyes-prod-rejected-1234abcd", "arn:aws:s3:::eyes-prod-access-log-1234abcd",
          "arn:aws:s3:::eyes-prod-raw-data-1234abcd/a.json", "arn:aws:s3:::eyes-tfstate-111122223333-us-east-1/prod/terraform.tfstate",
          "arn:aws:s3:::eyes-tfstate-111122223333-us-east-1/bootstrap/terraform.tfstate",
          "arn:aws:lambda:us-east-1:111122223333:function:eyes-prod-data-processor", "arn:aws:lambda:us-east-1:111122223333:layer:eyes-prod-dependencies",
          "arn:aws:sqs:us-east-1:111122223333:eyes-prod-ingestion", "arn:aws:sqs:us-east-1:111122223333:eyes-prod-dead-letter",
          "arn:aws:sns:us-east-1:111122223333:eyes-prod-alarms", "arn:aws:sns:us-east-1:111122223333:eyes-prod-rejections", "arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-prod-function-errors",
          "arn:aws:cloudwatch::111122223333:dashboard/eyes-prod", "arn:aws:kms:us-east-1:111122223333:alias/eyes-prod",
          "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/eyes-prod-data-processor",
          "arn:aws:iam::111122223333:role/eyes-prod-data-processor", "arn:aws:iam::111122223333:role/eyes-github-dev-apply",
          "arn:aws:iam::111122223333:role/eyes-github-dev-plan", "arn:aws:iam::111122223333:policy/eyes-github-dev-boundary",
          "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com",
        ] : resource == "*" || !can(regex("^${replace(replace(resource, "*", ".*"), "?", ".")}$", name))
      ]
    ]]))
    error_message = "A role of dev has permissions on resources of prod or of GitHub's roles."
  }
  assert {
    condition = jsonencode([for statement in jsondecode(aws_iam_policy.github["prod-monitoring"].policy).Statement : sort(statement.Resource) if statement.Sid == "ManageAlarms"]) == jsonencode([[
      for alarm in ["dead-letter-queue", "failed-files", "function-duration", "function-errors", "function-throttles", "lost-events", "nothing-processed", "oldest-message", "rejected-files"] : "arn:aws:cloudwatch:us-east-1:111122223333:alarm:eyes-prod-${alarm}"
    ]])
    error_message = "The apply role manages other alarms than the module creates: ${aws_iam_policy.github["prod-monitoring"].policy}"
  }
}

run "alarms_that_the_module_creates" {
  command = plan

  module {
    source = "../modules/monitoring"
  }

  variables {
    name            = "eyes"
    environment     = "dev"
    account_id      = "111122223333"
    region          = "us-east-1"
    topic_arn       = "arn:aws:sns:us-east-1:111122223333:eyes-alarms"
    alarm_arns      = []
    kms_key_arn     = "arn:aws:kms:us-east-1:111122223333:key/k"
    alarm_emails    = []
    saved_queries   = true
    request_metrics = true
    watched = {
      function_name          = "eyes-data-processor", timeout_seconds = 60, log_group_name = "/aws/lambda/eyes-data-processor"
      metrics_namespace      = "Eyes", raw_bucket = "eyes-raw", ingestion_queue = "eyes-ingestion", dead_letter_queue = "eyes-dead-letter"
      oldest_message_seconds = 180, redelivery_seconds = 365, most_at_once = 7
    }
  }

  assert {
    condition     = sort(concat([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_name], aws_cloudwatch_metric_alarm.nothing_processed[*].alarm_name)) == tolist([for alarm in ["dead-letter-queue", "failed-files", "function-duration", "function-errors", "function-throttles", "lost-events", "nothing-processed", "oldest-message", "rejected-files"] : "eyes-${alarm}"])
    error_message = "An alarm was added or removed: update bootstrap/names.tf, or the apply roles cannot manage it."
  }
}

run "longest_names_fit" {
  command = plan

  override_resource {
    target          = aws_s3_bucket.state
    override_during = plan
    values          = { id = "state" }
  }

  variables {
    project_name            = "a23456789-123456789-1234567"
    environments            = ["a234567890"]
    disposable_environments = ["a234567890"]
    region                  = "ap-southeast-2"
    github = {
      repository       = "a23456789-123456789-123456789-123456789/a23456789-123456789-123456789-123456789-123456789"
      subject_prefixes = ["repo:a23456789-123456789-123456789-123456789@1234567890/a23456789-123456789-123456789-123456789-123456789@1234567890"]
    }
  }

  assert {
    condition     = alltrue([for policy in aws_iam_policy.github : length(replace(policy.policy, "/\\s/", "")) <= 6144])
    error_message = "A policy exceeds the 6144 characters that AWS allows: ${jsonencode({ for key, policy in aws_iam_policy.github : key => length(replace(policy.policy, "/\\s/", "")) })}"
  }
  assert {
    condition     = alltrue([for role in aws_iam_role.github : length(replace(role.assume_role_policy, "/\\s/", "")) <= 2048 && length(role.name) <= 64])
    error_message = "A trust policy exceeds the 2048 characters that AWS allows, or a role's name exceeds 64."
  }
}

run "state_bucket" {
  command = plan

  assert {
    condition     = aws_s3_bucket.state.bucket == "eyes-tfstate-111122223333-us-east-1" && output.state_bucket_name == "eyes-tfstate-111122223333-us-east-1"
    error_message = "The state bucket's name must contain project, account and region, so that no two collide."
  }
  assert {
    condition = jsonencode(jsondecode(aws_s3_bucket_policy.state.policy).Statement) == jsonencode([
      for sid, condition in {
        DenyInsecureTransport = { Bool = { "aws:SecureTransport" = "false" } }
        DenyOtherAccounts     = { StringNotEquals = { "aws:PrincipalAccount" = "111122223333" } }
        DenyOutdatedTls       = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
        } : {
        Sid       = sid, Effect = "Deny", Principal = "*", Action = "s3:*"
        Resource  = ["arn:aws:s3:::eyes-tfstate-111122223333-us-east-1/*", "arn:aws:s3:::eyes-tfstate-111122223333-us-east-1"]
        Condition = condition
      }
    ])
    error_message = "The state bucket's policy changed: ${aws_s3_bucket_policy.state.policy}"
  }
  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled"
    error_message = "The state bucket is not versioned."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.state.rule : "${rule.noncurrent_version_expiration[0].noncurrent_days} ${rule.noncurrent_version_expiration[0].newer_noncurrent_versions}" if rule.status == "Enabled" && length(rule.noncurrent_version_expiration) > 0] == ["365 20"]
    error_message = "Noncurrent versions of a state must stay for a year, and the last 20 forever."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.state.rule : rule.abort_incomplete_multipart_upload[0].days_after_initiation if rule.status == "Enabled" && length(rule.abort_incomplete_multipart_upload) > 0] == [1]
    error_message = "Stale multipart uploads are not aborted after a day."
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.state.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "The state bucket must use the encryption that the S3 backend requests."
  }
  assert {
    condition     = aws_s3_bucket.state.bucket != null && [for setting in regexall("(?m)^ +(\\w+) += (.*)$", file("backend.tf")) : join("=", setting)] == ["key=\"bootstrap/terraform.tfstate\"", "encrypt=true", "use_lockfile=true"]
    error_message = "The state of bootstrap is not encrypted, not locked, or at another key."
  }
  assert {
    condition = (
      aws_s3_bucket_public_access_block.state.block_public_acls && aws_s3_bucket_public_access_block.state.block_public_policy &&
      aws_s3_bucket_public_access_block.state.ignore_public_acls && aws_s3_bucket_public_access_block.state.restrict_public_buckets
    )
    error_message = "Public access is not blocked in all four ways."
  }
  assert {
    condition     = aws_s3_bucket_ownership_controls.state.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "ACLs are on."
  }
}
