# Managed policies for who uploads and who reads, to be attached to their roles. They are here and not in the pipelines:
# whoever may change a policy can give its holders every permission, so GitHub's roles may not.

locals {
  key_prefixes = { for name in var.environments : name => lookup(var.key_prefixes, name, "") }

  # A bucket of another account could have a name like these.
  of_this_account = [["StringEquals", "aws:ResourceAccount", local.account]]

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
  }]...)
}

resource "aws_iam_policy" "people" {
  for_each = local.people

  name        = each.key
  description = each.value.description
  policy      = data.aws_iam_policy_document.table[each.key].json
}
