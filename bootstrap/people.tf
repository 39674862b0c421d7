# Managed policies for who uploads, who reads and who erases, to be attached to their roles. They are here and not in the
# pipelines: whoever may change a policy can give its holders every permission, so GitHub's roles may not.

locals {
  key_prefixes = { for name in var.environments : name => lookup(var.key_prefixes, name, "") }

  searched = ["raw-data", "processed-data", "rejected"]

  # A bucket of another account could have a name like these.
  of_this_account = [["StringEquals", "aws:ResourceAccount", local.account]]

  # AWS knows of MFA in sessions of IAM users alone.
  with_mfa = var.eraser_requires_mfa ? [["Bool", "aws:MultiFactorAuthPresent", "true"]] : []

  through_s3 = { for name in var.environments : name => { for role, bucket in local.buckets[name] : role => concat(local.own[name], [
    ["StringEquals", "kms:ViaService", "s3.${var.region}.amazonaws.com"],
    # With a bucket key, S3 names the bucket; for objects from before it was on, the object.
    ["StringLike", "kms:EncryptionContext:aws:s3:arn", [bucket, "${bucket}/*"]],
  ]) } }

  people = merge([for name, prefix in module.names.prefixes : {
    # What `aws s3 cp` takes for small and large files. S3 decrypts the parts of a large one to put them together (S3 user
    # guide, "Multipart upload API and permissions"); to read a file back takes s3:GetObject as well.
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
    # What find and erase of the commands take. Not s3:BypassGovernanceRetention: what is locked stays.
    "${prefix}-eraser" = {
      description = "Finds patients in the files of ${name}, and erases versions for good"
      statements = concat([
        { sid = "ListVersions", actions = ["s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:ListBucketVersions"], conditions = local.of_this_account, resources = [
          for role in local.searched : local.buckets[name][role]
        ] },
        { sid = "ReadVersions", conditions = local.of_this_account, resources = [for role in local.searched : "${local.buckets[name][role]}/*"], actions = [
          "s3:GetObject", "s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:GetObjectVersion", "s3:GetObjectVersionTagging",
        ] },
        # Uploads, and results that are kept though no upload is behind them any more.
        { sid = "RewriteFiles", actions = ["s3:AbortMultipartUpload", "s3:PutObject", "s3:PutObjectTagging"], conditions = concat(local.of_this_account, local.with_mfa), resources = [
          for bucket in local.arns[name].data_buckets : "${bucket}/*"
        ] },
        { sid = "EraseVersions", actions = ["s3:DeleteObjectVersion"], conditions = concat(local.of_this_account, local.with_mfa), resources = [
          for role in local.searched : "${local.buckets[name][role]}/*"
        ] },
        # Failed events, which name keys, and are put back.
        { sid = "LookIntoQueue", actions = ["sqs:ChangeMessageVisibility", "sqs:ReceiveMessage"], resources = [local.arns[name].dead_letter] },
        { sid = "CountMessages", actions = ["sqs:GetQueueAttributes"], resources = local.arns[name].queues },
        { sid = "DecryptFailedEvents", actions = ["kms:Decrypt"], resources = [local.keys], conditions = concat(local.own[name], [
          ["StringEquals", "kms:ViaService", "sqs.${var.region}.amazonaws.com"],
          ["StringEquals", "kms:EncryptionContext:aws:sqs:arn", local.arns[name].dead_letter],
        ]) },
        # Where the commands learn the names of the buckets.
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
