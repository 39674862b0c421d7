# The permissions of the roles, as tables; those of people are in people.tf. Each row has one purpose, with its actions,
# resources and conditions (operator, key, values). A row for "*" says why.

locals {
  statements = { for name, arn in local.arns : name => {

    # A plan reads configuration and, of all objects, only the state; no log line and no message. It uses the key only
    # to let Lambda show the function's environment variables, which are names of this project's resources.
    read = [
      { sid = "ReadState", actions = ["s3:GetObject"], resources = [arn.state] },
      { sid = "FindState", actions = ["s3:ListBucket"], resources = [local.state_bucket_arn] },
      { sid = "ReadBuckets", resources = arn.buckets, actions = [
        "s3:GetBucket*", "s3:GetAccelerateConfiguration", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration",
        "s3:GetMetricsConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket",
      ] },
      # For any key: the tags of a new one may take five minutes to take effect (KMS developer guide, "ABAC for AWS
      # KMS"), and the provider reads it immediately.
      { sid = "ReadKey", resources = [local.keys], actions = [
        "kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags",
      ] },
      { sid = "ReadFunctionVariables", actions = ["kms:Decrypt"], resources = [local.keys], conditions = concat(local.own[name], [
        ["StringEquals", "kms:ViaService", "lambda.${var.region}.amazonaws.com"],
        ["StringLike", "kms:EncryptionContext:aws:lambda:FunctionArn", [arn.function, "${arn.function}:*"]],
      ]) },
      { sid = "ReadQueues", actions = ["sqs:GetQueueAttributes", "sqs:ListQueueTags"], resources = arn.queues },
      { sid = "ReadFunction", resources = [arn.function, "${arn.function}:*"], actions = [
        "lambda:GetAlias", "lambda:GetFunction", "lambda:GetFunctionCodeSigningConfig", "lambda:GetFunctionConcurrency",
        "lambda:GetFunctionConfiguration", "lambda:GetFunctionEventInvokeConfig", "lambda:GetPolicy", "lambda:ListTags",
        "lambda:ListVersionsByFunction",
      ] },
      { sid = "ReadLayer", actions = ["lambda:GetLayerVersion"], resources = ["${arn.layer}:*"] },
      { sid = "ReadMapping", actions = ["lambda:GetEventSourceMapping", "lambda:ListTags"], resources = [local.mappings] },
      { sid = "ReadRole", resources = [arn.role], actions = [
        "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies",
      ] },
      { sid = "ReadLogGroup", actions = ["logs:ListTagsForResource"], resources = [arn.log_group, "${arn.log_group}:*"] },
      { sid = "ReadTopics", actions = ["sns:GetTopicAttributes", "sns:ListTagsForResource"], resources = arn.topics },
      { sid = "ReadAlarms", actions = ["cloudwatch:ListTagsForResource"], resources = arn.alarms },
      { sid = "ReadDashboard", actions = ["cloudwatch:GetDashboard"], resources = [arn.dashboard] },
      # AWS lists these only for the whole account.
      { sid = "List", resources = ["*"], actions = [
        "cloudwatch:DescribeAlarms", "ec2:DescribeNetworkAcls", "ec2:DescribeNetworkInterfaces", "ec2:DescribePrefixLists",
        "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroupRules", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
        "ec2:DescribeVpcAttribute", "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs", "kms:ListAliases",
        "logs:DescribeLogGroups", "logs:DescribeQueryDefinitions", "sns:GetSubscriptionAttributes",
      ] },
    ]

    # State, buckets, key and queues.
    data = [for row in [
      { sid = "WriteState", actions = ["s3:PutObject"], resources = [arn.state] },
      { sid = "LockState", actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], resources = ["${arn.state}.tflock"] },
      { sid = "ManageBuckets", resources = arn.buckets, actions = [
        "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:ListBucketVersions", "s3:PutBucketLogging",
        "s3:PutBucketNotification", "s3:PutBucketObjectLockConfiguration", "s3:PutBucketOwnershipControls",
        "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging", "s3:PutBucketVersioning",
        "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration", "s3:PutMetricsConfiguration",
      ] },
      # The synthetic file that a deploy uploads, waits for and deletes.
      { sid = "SmokeTest", resources = [for bucket in arn.data_buckets : "${bucket}/smoke-test/*"], actions = [
        "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject",
      ] },
      { sid = "SmokeTestKey", actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [local.keys], conditions = concat(local.own[name], [
        ["StringEquals", "kms:ViaService", "s3.${var.region}.amazonaws.com"],
        ["StringLike", "kms:EncryptionContext:aws:s3:arn", flatten([for bucket in arn.data_buckets : [bucket, "${bucket}/smoke-test/*"]])],
      ]) },
      { sid = "EmptyBuckets", actions = ["s3:DeleteObject", "s3:DeleteObjectVersion"], resources = [for bucket in arn.buckets : "${bucket}/*"] },
      { sid = "DeleteKey", actions = ["kms:ScheduleKeyDeletion"], resources = [local.keys], conditions = local.own[name] },
      # A key has no ARN before it exists: it must be created with this environment's tags.
      { sid = "CreateKey", actions = ["kms:CreateKey"], resources = ["*"], conditions = local.new[name] },
      # Creating it with tags needs permission to tag a key that has none yet. A key in use has an alias.
      { sid = "TagNewKey", actions = ["kms:TagResource"], resources = [local.keys], conditions = concat(local.new[name], local.own_or_none[name], [
        ["Null", "kms:ResourceAliases", "true"],
      ]) },
      # These calls cannot wait for the tags to take effect either.
      { sid = "SetUpNewKey", resources = [local.keys], actions = [
        "kms:CreateAlias", "kms:EnableKeyRotation", "kms:PutKeyPolicy",
        ], conditions = concat(local.own_or_none[name], [
          ["Null", "kms:ResourceAliases", "true"],
          ["BoolIfExists", "kms:BypassPolicyLockoutSafetyCheck", "false"],
      ]) },
      { sid = "ManageKey", resources = [local.keys], conditions = local.own[name], actions = [
        "kms:CreateAlias", "kms:DeleteAlias", "kms:EnableKeyRotation", "kms:TagResource", "kms:UntagResource",
        "kms:UpdateAlias", "kms:UpdateKeyDescription",
      ] },
      # But no policy that locks everybody out, which would be as final as a deletion.
      { sid = "SetKeyPolicy", actions = ["kms:PutKeyPolicy"], resources = [local.keys], conditions = concat(local.own[name], [
        ["BoolIfExists", "kms:BypassPolicyLockoutSafetyCheck", "false"],
      ]) },
      { sid = "NameKey", actions = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"], resources = [arn.key_alias] },
      { sid = "ManageQueues", resources = arn.queues, actions = [
        "sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue",
      ] },
    ] : row if contains(var.disposable_environments, name) || !contains(["EmptyBuckets", "DeleteKey"], row.sid)]

    # Function, role, log.
    function = [
      { sid = "ManageFunction", resources = [arn.function, "${arn.function}:*"], actions = [
        "lambda:AddPermission", "lambda:CreateAlias", "lambda:CreateFunction", "lambda:DeleteAlias", "lambda:DeleteFunction",
        "lambda:DeleteFunctionConcurrency", "lambda:DeleteFunctionEventInvokeConfig", "lambda:PublishVersion",
        "lambda:PutFunctionConcurrency", "lambda:PutFunctionEventInvokeConfig", "lambda:RemovePermission", "lambda:TagResource",
        "lambda:UntagResource", "lambda:UpdateAlias", "lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration",
        "lambda:UpdateFunctionEventInvokeConfig",
      ] },
      { sid = "ManageLayer", actions = ["lambda:DeleteLayerVersion", "lambda:PublishLayerVersion"], resources = [arn.layer, "${arn.layer}:*"] },
      # A mapping's ARN contains an ID that Lambda chooses, so the function is the condition.
      { sid = "ManageMapping", resources = ["*"], actions = [
        "lambda:CreateEventSourceMapping", "lambda:DeleteEventSourceMapping", "lambda:UpdateEventSourceMapping",
      ], conditions = [["ArnEquals", "lambda:FunctionArn", [arn.function, "${arn.function}:live"]]] },
      { sid = "TagMapping", actions = ["lambda:TagResource"], resources = [local.mappings], conditions = [
        ["StringEquals", "aws:RequestTag/Project", var.project_name],
      ] },
      { sid = "EncryptFunctionVariables", actions = ["kms:CreateGrant", "kms:Encrypt"], resources = [local.keys], conditions = concat(local.own[name], [
        ["StringEquals", "kms:ViaService", "lambda.${var.region}.amazonaws.com"],
      ]) },
      # Permissions only for a role that has the boundary below.
      { sid = "ManageRoleWithinBoundary", resources = [arn.role], actions = [
        "iam:CreateRole", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy",
      ], conditions = [["StringEquals", "iam:PermissionsBoundary", arn.boundary]] },
      { sid = "ManageRole", resources = [arn.role], actions = [
        "iam:DeleteRole", "iam:ListInstanceProfilesForRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy",
        "iam:UpdateRole", "iam:UpdateRoleDescription",
      ] },
      { sid = "PassRole", actions = ["iam:PassRole"], resources = [arn.role], conditions = [
        ["StringEquals", "iam:PassedToService", "lambda.amazonaws.com"],
      ] },
      { sid = "ManageLogGroup", resources = [arn.log_group, "${arn.log_group}:*"], actions = [
        "logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:TagResource",
        "logs:UntagResource",
      ] },
    ]

    # Alarms, and whom they notify.
    monitoring = [
      { sid = "ManageTopics", resources = arn.topics, actions = [
        "sns:CreateTopic", "sns:DeleteTopic", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:UntagResource",
      ] },
      { sid = "ManageAlarms", resources = arn.alarms, actions = [
        "cloudwatch:DeleteAlarms", "cloudwatch:TagResource", "cloudwatch:UntagResource",
      ] },
      # An alarm can also stop and terminate instances. These may only notify their topic.
      { sid = "SetAlarms", actions = ["cloudwatch:PutMetricAlarm"], resources = arn.alarms, conditions = [
        ["ForAllValues:StringEquals", "cloudwatch:AlarmActions", arn.topics],
      ] },
      { sid = "ManageDashboard", actions = ["cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard"], resources = [arn.dashboard] },
      # Subscriptions and saved queries cannot be named by ARN in a policy.
      { sid = "ManageUnnamed", actions = ["logs:DeleteQueryDefinition", "logs:PutQueryDefinition", "sns:Unsubscribe"], resources = ["*"] },
    ]

    # The private network. AWS chooses the IDs of its resources, so they are created with this environment's tags and
    # identified by them.
    network = [
      { sid = "CreateNetwork", actions = ["ec2:CreateVpc"], resources = [local.networked.vpc], conditions = local.new[name] },
      # Each for its own resource type: to create an endpoint, the call must also be allowed on its route table, which
      # must be this environment's.
      { sid = "CreateRouteTable", actions = ["ec2:CreateRouteTable"], resources = [local.networked.route-table], conditions = local.new[name] },
      { sid = "CreateSecurityGroup", actions = ["ec2:CreateSecurityGroup"], resources = [local.networked.security-group], conditions = local.new[name] },
      { sid = "CreateSubnet", actions = ["ec2:CreateSubnet"], resources = [local.networked.subnet], conditions = local.new[name] },
      { sid = "CreateEndpoint", actions = ["ec2:CreateVpcEndpoint"], resources = [local.networked.vpc-endpoint], conditions = local.new[name] },
      { sid = "CreateRule", actions = ["ec2:AuthorizeSecurityGroupEgress"], resources = [local.networked.security-group-rule], conditions = local.new[name] },
      { sid = "TagNewParts", actions = ["ec2:CreateTags"], resources = values(local.networked), conditions = [
        ["StringEquals", "ec2:CreateAction", [
          "AuthorizeSecurityGroupEgress", "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet", "CreateVpc", "CreateVpcEndpoint",
        ]],
      ] },
      # The default security group, which AWS creates with the network, has no tags at first.
      { sid = "AdoptDefaultSecurityGroup", actions = ["ec2:CreateTags"], resources = [local.networked.security-group], conditions = concat(local.new[name], local.own_or_none[name]) },
      { sid = "ManageNetwork", resources = values(local.networked), conditions = local.own[name], actions = [
        "ec2:AssociateRouteTable", "ec2:AuthorizeSecurityGroupEgress", "ec2:CreateRouteTable", "ec2:CreateSecurityGroup",
        "ec2:CreateSubnet", "ec2:CreateTags", "ec2:CreateVpcEndpoint", "ec2:DeleteRouteTable", "ec2:DeleteSecurityGroup",
        "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc", "ec2:DeleteVpcEndpoints", "ec2:DisassociateRouteTable",
        "ec2:ModifySecurityGroupRules", "ec2:ModifyVpcAttribute", "ec2:ModifyVpcEndpoint", "ec2:RevokeSecurityGroupEgress",
        "ec2:RevokeSecurityGroupIngress",
      ] },
      # Interfaces that Lambda created for the function and left behind. They have no tags, and one in use cannot be
      # deleted.
      { sid = "DeleteInterfaces", actions = ["ec2:DeleteNetworkInterface"], resources = [local.interfaces] },
    ]

    # The function's permissions boundary: the most that its role can do, whatever policy a deploy gives it. Without it,
    # anyone who deploys could let the function use every permission of the account. It mirrors modules/iam.
    boundary = [
      { sid = "Read", actions = ["s3:GetObject", "s3:GetObjectVersion"], resources = ["${local.buckets[name].raw-data}/*"] },
      { sid = "List", actions = ["s3:ListBucket"], resources = [for role in ["raw-data", "processed-data", "rejected"] : local.buckets[name][role]] },
      { sid = "Write", actions = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"], resources = ["${local.buckets[name].processed-data}/*"] },
      { sid = "Judge", actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], resources = ["${local.buckets[name].rejected}/*"] },
      { sid = "Log", actions = ["logs:CreateLogStream", "logs:PutLogEvents"], resources = ["${arn.log_group}:*"] },
      { sid = "Queues", resources = arn.queues, actions = [
        "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage",
      ] },
      { sid = "UseKey", actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [local.keys], conditions = concat(local.own[name], [
        ["StringEquals", "kms:ViaService", [for service in ["s3", "sqs"] : "${service}.${var.region}.amazonaws.com"]],
      ]) },
      { sid = "ReadOwnVariables", actions = ["kms:Decrypt"], resources = [local.keys], conditions = concat(local.own[name], [
        ["StringLike", "kms:EncryptionContext:aws:lambda:FunctionArn", [arn.function, "${arn.function}:*"]],
      ]) },
      # Neither traces nor the interfaces that Lambda creates for the function have ARNs that are known in advance.
      { sid = "TracesAndInterfaces", resources = ["*"], actions = [
        "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses", "xray:PutTelemetryRecords", "xray:PutTraceSegments",
      ] },
    ]
  } }

  # Conditions: the resource has this environment's tags; the request sets them; the resource has no other
  # environment's.
  tags        = { for name in var.environments : name => { Project = var.project_name, Environment = name } }
  own         = { for name, tags in local.tags : name => [for key, value in tags : ["StringEquals", "aws:ResourceTag/${key}", value]] }
  new         = { for name, tags in local.tags : name => [for key, value in tags : ["StringEquals", "aws:RequestTag/${key}", value]] }
  own_or_none = { for name, tags in local.tags : name => [for key, value in tags : ["StringEqualsIfExists", "aws:ResourceTag/${key}", value]] }
}

data "aws_iam_policy_document" "table" {
  for_each = merge(local.policies, { for name, policy in local.people : name => policy.statements })

  dynamic "statement" {
    for_each = each.value

    content {
      sid       = statement.value.sid
      actions   = statement.value.actions
      resources = statement.value.resources

      dynamic "condition" {
        for_each = try(statement.value.conditions, [])

        content {
          test     = condition.value[0]
          variable = condition.value[1]
          values   = flatten([condition.value[2]])
        }
      }
    }
  }
}
