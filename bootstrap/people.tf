# Managed policies for people who upload, read and erase, to be attached to their roles. They are here and not in the
# pipelines, because GitHub's roles must not change them: whoever can change a policy can give its holders every
# permission.

locals {
  key_prefixes = { for name in var.environments : name => lookup(var.key_prefixes, name, "") }

  searched = ["raw-data", "processed-data", "rejected"]

  # A bucket of another account could have such a name.
  of_this_account = [["StringEquals", "aws:ResourceAccount", local.account]]

  # Only sessions of IAM users carry this key.
  with_mfa = var.eraser_requires_mfa ? [["Bool", "aws:MultiFactorAuthPresent", "true"]] : []

  through_s3 = { for name in var.environments : name => { for role, bucket in local.buckets[name] : role => concat(local.own[name], [
    ["StringEquals", "kms:ViaService", "s3.${var.region}.amazonaws.com"],
    # With a bucket key the context is the bucket's ARN; for objects older than the bucket key it is the object's.
    ["StringLike", "kms:EncryptionContext:aws:s3:arn", [bucket, "${bucket}/*"]],
  ]) } }

  people = merge([for name, prefix in module.names.prefixes : {
    # What `aws s3 cp` needs for small and large files. To complete a multipart upload, S3 decrypts its parts (S3 user
    # guide, "Multipart upload API and permissions"); reading a file back would need s3:GetObject as well.
    "${prefix}-uploader" = {
      description = "Uploads retina scans to ${name}, and reads nothing"
      statements = [
        { sid = "Upload", actions = ["s3:AbortMultipartUpload", "s3:PutObject"], conditions = local.of_this_account, resources = [
          "${local.buckets[name].raw-data}/${local.key_prefixes[name]}*",
        ] },
        { sid = "EncryptUploads", actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [local.keys], conditions = local.through_s3[name].raw-data },
      ]
    }
    "${prefix}-reader" = {
      description = "Lists and reads the results of ${name}"
      statements = [
        { sid = "Read", actions = ["s3:GetObject"], conditions = local.of_this_account, resources = [
          "${local.buckets[name].processed-data}/${local.key_prefixes[name]}*",
        ] },
        { sid = "List", actions = ["s3:ListBucket"], resources = [local.buckets[name].processed-data], conditions = concat(local.of_this_account, [
          ["StringLike", "s3:prefix", "${local.key_prefixes[name]}*"],
        ]) },
        { sid = "DecryptResults", actions = ["kms:Decrypt"], resources = [local.keys], conditions = local.through_s3[name].processed-data },
      ]
    }
    # What `./deploy.sh find ENV` and `erase` need. Not s3:BypassGovernanceRetention: locked versions stay.
    "${prefix}-eraser" = {
      description = "Finds patients in the files of ${name}, and erases versions for good"
      statements = concat([
        { sid = "ListVersions", actions = ["s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:ListBucketVersions"], conditions = local.of_this_account, resources = [
          for role in local.searched : local.buckets[name][role]
        ] },
        { sid = "ReadVersions", conditions = local.of_this_account, resources = [for role in local.searched : "${local.buckets[name][role]}/*"], actions = [
          "s3:GetObject", "s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:GetObjectVersion", "s3:GetObjectVersionTagging",
        ] },
        # Uploads, and results whose upload no longer exists.
        { sid = "RewriteFiles", actions = ["s3:AbortMultipartUpload", "s3:PutObject", "s3:PutObjectTagging"], conditions = concat(local.of_this_account, local.with_mfa), resources = [
          for bucket in local.arns[name].data_buckets : "${bucket}/*"
        ] },
        { sid = "EraseVersions", actions = ["s3:DeleteObjectVersion"], conditions = concat(local.of_this_account, local.with_mfa), resources = [
          for role in local.searched : "${local.buckets[name][role]}/*"
        ] },
        # Failed events name keys. They are read and returned to the queue.
        { sid = "LookIntoQueue", actions = ["sqs:ChangeMessageVisibility", "sqs:ReceiveMessage"], resources = [local.arns[name].dead_letter] },
        { sid = "CountMessages", actions = ["sqs:GetQueueAttributes"], resources = local.arns[name].queues },
        { sid = "DecryptFailedEvents", actions = ["kms:Decrypt"], resources = [local.keys], conditions = concat(local.own[name], [
          ["StringEquals", "kms:ViaService", "sqs.${var.region}.amazonaws.com"],
          ["StringEquals", "kms:EncryptionContext:aws:sqs:arn", local.arns[name].dead_letter],
        ]) },
        # The commands read the buckets' names from the state.
        { sid = "ReadState", actions = ["s3:GetObject"], resources = [local.arns[name].state] },
        ], [for role in local.searched :
        { sid = "UseKeyFor${join("", [for word in split("-", role) : title(word)])}", actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [local.keys], conditions = local.through_s3[name][role] }
      ])
    }
  }]...)
}

resource "aws_iam_policy" "people" {
  for_each = local.people

  name        = each.key
  description = each.value.description
  policy      = data.aws_iam_policy_document.table[each.key].json
}
