"""Test the tests: break each control in a copy of the project, and expect its tests to turn red.

The tests of a control are those of its module, and then those of tests/policies about the wiring and the files.

Each entry names a control, the file that holds it, and what replaces which text there. A control whose removal stays
green is reported, and so is an entry whose text is no longer in the file. Where no setting can get past the validations
to a precondition, its entry breaks the code that it guards, and expects its message.
"""

# ruff: noqa: E501 - one control, one line

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from commands import terraform
from parts import TERRAFORM

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "*.tf", ".terraform.lock.hcl", "modules", "bootstrap", "env", "build", "scripts", "pyproject.toml", "tests/policies",
    "tests/runner", "tests/terraform",
)  # fmt: skip
RED = ("Test assertion failed", "FAILED tests/policies/")
WITHOUT_CONTROLS = {"rendered.tftest.hcl", "validation.tftest.hcl"}
INIT = "terraform init -backend=false -input=false -lockfile=readonly"
WIRING = f"{sys.executable} -m pytest -x -q tests/policies/test_files.py tests/policies/test_wiring.py"
TLS = 'variable = "aws:SecureTransport"'
OPEN = 'jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Principal = "*", Action = "*", Resource = "*" }] })'
ROUTE_TABLE = 'resource "aws_route_table" "private" {'
NOTIFICATION = 'resource "aws_s3_bucket_notification" "raw" {'
OTHER_KEY = '"arn:aws:kms:us-east-1:111122223333:key/other"'


class Break(NamedTuple):
    """A control, how to take it away, and what a test then says.

    Files are those of modules/, or of bootstrap/ or env/ where they say so.
    """

    control: str
    file: str
    old: str
    new: str
    says: tuple[str, ...] = RED

    @property
    def path(self) -> str:
        return self.file if self.file.startswith(("bootstrap/", "env/")) else f"modules/{self.file}"

    def tests(self, copy: Path) -> list[str]:
        """Return shell commands that run its tests in a copy of the project, from the copy."""
        folder = Path(self.path).parent
        files = {file.name for file in (ROOT / folder / "tests").glob("*.tftest.hcl")} - WITHOUT_CONTROLS
        filters = " ".join(f"-filter=tests/{file}" for file in files)
        own = [f"cd {folder} && {INIT} >/dev/null && terraform test -no-color {filters}"] if files else []
        init = " && ".join(TERRAFORM.init).replace(str(ROOT), str(copy))
        return own if folder.name == "bootstrap" else [*own, f"{init} >/dev/null && {WIRING}"]


BREAKS = [
    Break("bucket policy attached", "s3/access.tf", "policy = data.aws_iam_policy_document.bucket.json", f"policy = {OPEN}"),
    Break("key policy attached", "kms/main.tf", "= data.aws_iam_policy_document.key.json", f"= {OPEN}"),
    Break("role policy attached", "iam/main.tf", "= data.aws_iam_policy_document.execution.json", f"= {OPEN}"),
    Break("queue policy attached", "queue/main.tf", "= data.aws_iam_policy_document.ingestion.json", f"= {OPEN}"),
    Break("topic policy attached", "topic/main.tf", "policy = data.aws_iam_policy_document.this.json", f"policy = {OPEN}"),
    Break("endpoint policy attached", "network/main.tf", "= data.aws_iam_policy_document.endpoint.json", f"= {OPEN}"),
    Break("public ACLs blocked", "s3/access.tf", "block_public_acls       = true", "block_public_acls = false"),
    Break("public policies blocked", "s3/access.tf", "block_public_policy     = true", "block_public_policy = false"),
    Break("public ACLs ignored", "s3/access.tf", "ignore_public_acls      = true", "ignore_public_acls = false"),
    Break("public buckets restricted", "s3/access.tf", "restrict_public_buckets = true", "restrict_public_buckets = false"),
    Break("ACLs off", "s3/access.tf", "BucketOwnerEnforced", "BucketOwnerPreferred"),
    Break("TLS only, bucket", "s3/access.tf", TLS, 'variable = "aws:ViaAWSService"'),
    Break("TLS only, objects", "s3/access.tf", "[var.arn, local.objects]", "[var.arn]"),
    Break("TLS 1.2", "s3/access.tf", 'value = "1.2"', 'value = "1.0"'),
    Break("own account only", "s3/access.tf", "value = var.account_id", 'value = "*"'),
    Break("log delivery of this account", "s3/access.tf", "[var.account_id]", '["*"]'),
    Break("AWS services let in", "s3/access.tf", "aws:PrincipalIsAWSService", "aws:ViaAWSService"),
    Break("nobody without credentials", "s3/access.tf", '"BoolIfExists"', '"Bool"'),
    Break("log delivery from these buckets", "s3/access.tf", "values   = [statement.value]", 'values = ["*"]'),
    Break("log delivery into its prefix", "s3/access.tf", "${statement.key}/*", "*"),
    Break("customer key on buckets", "s3/encryption.tf", '"AES256" : "aws:kms"', '"AES256" : "AES256"'),
    Break("bucket key", "s3/encryption.tf", "bucket_key_enabled = var.kms_key != null", "bucket_key_enabled = false"),
    Break("no other encryption", "s3/encryption.tf", 'value = "aws:kms"', 'value = "AES256"'),
    Break("Null guard", "s3/encryption.tf", 'value = "false"', 'value = "true"'),
    Break("no other key", "s3/encryption.tf", "value = one(var.kms_key[*].arn)", 'value = "*"'),
    Break("no key but the bucket's for KMS", "s3/encryption.tf", 'value = "true"', 'value = "false"'),
    Break("function's variables only", "iam/main.tf", '[var.function_arn, "${var.function_arn}:*"]', '["*"]'),
    Break("no caller's key", "s3/encryption.tf", "-customer-algorithm", "-customer-algorithms"),
    Break("versioning", "s3/main.tf", 'status = "Enabled"', 'status = "Suspended"'),
    Break("object lock", "s3/main.tf", "days = var.object_lock_days", "days = 1"),
    Break("access log", "s3/main.tf", "target_bucket = var.access_log.bucket", "target_bucket = var.name"),
    Break("stale multipart uploads go", "s3/lifecycle.tf", "days_after_initiation = 1", "days_after_initiation = 90"),
    Break("old versions go", "s3/lifecycle.tf", "noncurrent_days = var.lifecycle_days.noncurrent", "noncurrent_days = 999"),
    Break("key rotation", "kms/main.tf", "enable_key_rotation     = true", "enable_key_rotation = false"),
    Break("key deletion window", "kms/main.tf", "= var.deletion_window_days", "= 7"),
    Break("no star in the key policy", "kms/main.tf", "arn:${var.partition}:iam::${var.account_id}:root", "*"),
    Break("key for this log group", "kms/main.tf", "values   = var.log_group_arns", 'values = ["*"]'),
    Break("key for these buckets", "kms/main.tf", "var.notifying_bucket_arns", '["*"]'),
    Break("key for the topic of these alarms", "kms/main.tf", "[var.alarm_topic_arn]", '["*"]'),
    Break("key for this account", "kms/main.tf", "values   = [var.account_id]", 'values = ["*"]'),
    Break("role reads raw only", "iam/main.tf", 'resources = ["${var.raw_bucket_arn}/*"]', 'resources = ["*"]'),
    Break("role lists its buckets only", "iam/main.tf", "concat([var.raw_bucket_arn, var.rejected_bucket_arn]", 'concat(["*"]'),
    Break("role lists no results to keep", "iam/main.tf", "var.removes_results ? [var.processed_bucket_arn] : []", "[var.processed_bucket_arn]"),
    Break("role removes no results to keep", "iam/main.tf", 'var.removes_results ? ["results"] : []', '["results"]'),
    Break("role removes results that are not kept", "pipeline/main.tf", '= var.settings.stale_results == "remove"', "= false"),
    Break("verdicts to their bucket only", "iam/main.tf", 'resources = ["${var.rejected_bucket_arn}/*"]', 'resources = ["*"]'),
    Break("results are kept or not as set", "pipeline/main.tf", "= var.settings.stale_results\n", '= "keep"\n'),
    Break("deletions told where results are not kept", "pipeline/trigger.tf", '? local.deletions : []', "? [] : []"),
    Break("verdicts to the rejected bucket", "pipeline/main.tf", 'REJECTED_BUCKET              = module.bucket["rejected"]', 'REJECTED_BUCKET = module.bucket["processed"]'),
    Break("subscribers are notified of verdicts", "pipeline/main.tf", 'bucket = module.bucket["rejected"].name', 'bucket = module.bucket["processed"].name'),
    Break("news of verdicts to their addresses", "pipeline/main.tf", "= var.settings.rejection_emails", "= []"),
    Break("news of verdicts from their bucket", "pipeline/main.tf", "arns = [local.bucket_arns.rejected]", 'arns = ["*"]'),
    Break("role writes processed only", "iam/main.tf", 'resources = ["${var.processed_bucket_arn}/*"]', 'resources = ["*"]'),
    Break("role writes its log only", "iam/main.tf", 'resources = ["${var.log_group_arn}:*"]', 'resources = ["*"]'),
    Break("role cannot delete", "iam/main.tf", '"s3:PutObject", "s3:Abort', '"s3:PutObject", "s3:DeleteObject", "s3:Abort'),
    Break("role cannot make log groups", "iam/main.tf", '"logs:CreateLogStream"', '"logs:CreateLogGroup"'),
    Break("role sends to its queue", "iam/main.tf", "resources = [var.queue_arns.dead_letter]", 'resources = ["*"]'),
    Break("role receives from its queue", "iam/main.tf", "resources = [var.queue_arns.ingestion]", 'resources = ["*"]'),
    Break("key through S3 only", "iam/main.tf", "s3.${var.region}.amazonaws.com", "*.${var.region}.amazonaws.com"),
    Break("key through SQS only", "iam/main.tf", "sqs.${var.region}.amazonaws.com", "*.${var.region}.amazonaws.com"),
    Break("role uses its key only", "iam/main.tf", "resources = [var.kms_key_arn]", 'resources = ["*"]'),
    Break("key for these objects", "iam/main.tf", "kms:EncryptionContext:aws:s3:arn", "kms:EncryptionContext:any"),
    Break("key for these queues", "iam/main.tf", "kms:EncryptionContext:aws:sqs:arn", "kms:EncryptionContext:any"),
    Break("six network actions", "iam/main.tf", '"ec2:DescribeSubnets"', '"ec2:*"'),
    Break("no network actions without a network", "iam/main.tf", "var.private_network ? 1 : 0", "1"),
    Break("network not by the code", "iam/main.tf", '"lambda:SourceFunctionArn"', '"aws:SourceArn"'),
    Break("trust", "iam/main.tf", '"lambda.amazonaws.com"', '"lambda.amazonaws.com", "ec2.amazonaws.com"'),
    Break("invoked by the raw bucket", "pipeline/trigger.tf", "= local.bucket_arns.raw", '= "arn:aws:s3:::other"'),
    Break("invoked by this account", "pipeline/trigger.tf", "source_account = var.account_id", 'source_account = "999988887777"'),
    Break("only .json", "pipeline/trigger.tf", 'filter_suffix       = ".json"', 'filter_suffix = ""'),
    Break("only .json, queue", "pipeline/trigger.tf", 'filter_suffix = ".json"', 'filter_suffix = ""'),
    Break("partial batches", "pipeline/trigger.tf", '["ReportBatchItemFailures"]', "[]"),
    Break("bounded concurrency", "pipeline/trigger.tf", "= var.settings.maximum_concurrency", "= 1000"),
    Break("visibility timeout", "pipeline/trigger.tf", "6 * var", "1 * var"),
    Break("queue takes from the raw bucket", "queue/main.tf", "[var.source_bucket_arn]", '["*"]'),
    Break("queue takes from this account", "queue/main.tf", "[var.account_id]", '["*"]'),
    Break("queues encrypted", "queue/main.tf", "= var.kms_key_arn", "= null"),
    Break("TLS only, queues", "queue/main.tf", TLS, 'variable = "aws:ViaAWSService"'),
    Break("failed messages kept", "queue/main.tf", "maxReceiveCount = 5", "maxReceiveCount = 1000"),
    Break("dead-letter queue's scope", "queue/main.tf", '"byQueue"', '"allowAll"'),
    Break("topic encrypted", "topic/main.tf", "= var.kms_key_arn", "= null"),
    Break("topic for these publishers", "topic/main.tf", "var.publisher.arns", '["*"]'),
    Break("topic for this account", "topic/main.tf", "[var.account_id]", '["*"]'),
    Break("TLS only, topic", "topic/main.tf", TLS, 'variable = "aws:ViaAWSService"'),
    Break("alarms act", "monitoring/alarms.tf", "alarm_actions       = [module.alarms.arn]", "alarm_actions = []"),
    Break("alarms say when it is over", "monitoring/alarms.tf", "ok_actions          = [module.alarms.arn]", "ok_actions = []"),
    Break("alarms of this environment only", "pipeline/main.tf", "${var.name_prefix}-${alarm}", "${var.name_prefix}-*"),
    Break("alarms on the function", "monitoring/alarms.tf", "{ FunctionName =", "{ Function ="),
    Break("alarms on the queues", "monitoring/alarms.tf", "{ QueueName =", "{ Queue ="),
    Break("alarms on the service", "monitoring/alarms.tf", "{ service =", "{ function ="),
    Break("alarms within minutes", "monitoring/alarms.tf", "period      = 300\n      above", "period = 86400\n      above"),
    Break("alarms without delay", "monitoring/alarms.tf", "evaluation_periods  = 1\n", "evaluation_periods = 100\n"),
    Break("no uploads, no alarm", "monitoring/alarms.tf", '"notBreaching")', '"breaching")'),
    Break("failed events stay alarmed", "monitoring/alarms.tf", 'missing     = "ignore"', 'missing = "notBreaching"'),
    Break("one alarm for a file that fails", "monitoring/alarms.tf", "60 * ceil(var.watched.redelivery_seconds / 60) + 300", "300"),
    Break("alarm before the function gives up", "monitoring/alarms.tf", "min(0.8", "max(0.8"),
    Break("alarm on waiting uploads", "pipeline/main.tf", "= 3 * var.settings.timeout_seconds", "= 3000 * var.settings.timeout_seconds"),
    Break("uploads without outcome, how long", "monitoring/alarms.tf", "evaluation_periods  = 3", "evaluation_periods = 288"),
    Break("uploads without outcome, how many", "monitoring/alarms.tf", "threshold           = 0\n", "threshold = 1000\n"),
    Break("uploads without outcome, until one", "monitoring/alarms.tf", '= "ignore"', '= "notBreaching"'),
    Break("uploads without outcome, uploads", "monitoring/alarms.tf", '"PutRequests"', '"GetRequests"'),
    Break("uploads without outcome, outcomes", "monitoring/alarms.tf", 'failed = "FilesFailed", ', ""),
    Break("uploads without outcome, one is enough", "monitoring/alarms.tf", "IF(uploads > 0, 1)), REPEAT)", "IF(uploads > 0, 1, 0)), REPEAT)"),
    Break("requests of the raw bucket", "monitoring/alarms.tf", "bucket = var.watched.raw_bucket", 'bucket = "other"'),
    Break("dashboard shows errors", "monitoring/dashboard.tf", 'concat(["AWS/Lambda", "Errors"], local.lambda, [{ label = "errors" }]),', ""),
    Break("dashboard shows failed events", "monitoring/dashboard.tf", '"QueueName", var.watched.dead_letter_queue', '"QueueName", "other"'),
    Break("dashboard shows alarms", "monitoring/dashboard.tf", "alarms = var.alarm_arns", "alarms = []"),
    Break("dashboard shows the time limit", "monitoring/dashboard.tf", "1000 * var.watched.timeout_seconds", "1000"),
    Break("saved queries", "monitoring/dashboard.tf", 'filter message = "rejected"', 'filter message = "x"'),
    Break("log encrypted", "lambda/main.tf", "kms_key_id        = var.kms_key_arn", "kms_key_id = null"),
    Break("variables encrypted", "lambda/main.tf", "kms_key_arn      = var.kms_key_arn", "kms_key_arn = null"),
    Break("log retention", "lambda/main.tf", "= var.settings.log_retention_days", "= 0"),
    Break("tracing", "lambda/main.tf", 'mode = "Active"', 'mode = "PassThrough"'),
    Break("failed events kept", "lambda/main.tf", "= var.failure_queue_arn", '= "arn:aws:sqs:us-east-1:999988887777:other"'),
    Break("way to these buckets only", "network/main.tf", 'flatten([for arn in var.bucket_arns : [arn, "${arn}/*"]])', '["*"]'),
    Break("nothing but TLS out", "network/main.tf", "from_port         = 443", "from_port = 0"),
    Break("nothing but S3 out", "network/main.tf", "prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id", 'cidr_ipv4 = "0.0.0.0/0"'),
    Break("network leads to the data buckets", "pipeline/main.tf", "[local.bucket_arns.raw, local.bucket_arns.processed, local.bucket_arns.rejected]", '["arn:aws:s3:::*"]'),
    Break("data buckets logged", "pipeline/main.tf", "{ bucket = module.log_bucket.name, prefix", '{ bucket = "elsewhere", prefix'),
    Break("data buckets locked", "pipeline/main.tf", "object_lock_days = var.settings.object_lock_days", "object_lock_days = null"),
    Break("old versions kept", "pipeline/main.tf", "noncurrent = var.settings.noncurrent_version_days", "noncurrent = 1"),
    Break("data survives a destroy", "pipeline/main.tf", "force_destroy    = local.force_destroy", "force_destroy = true"),
    Break("access log survives a destroy", "pipeline/main.tf", "force_destroy      = local.force_destroy", "force_destroy = true"),
    Break("key's deletion can be taken back", "pipeline/main.tf", "? 7 : 30", "? 7 : 7"),
    Break("raw is not processed", "pipeline/main.tf", "${var.name_prefix}-processed-data", "${var.name_prefix}-raw-data", says=("Two buckets have the same name",)),
    Break("hidden while in work", "pipeline/trigger.tf", "6 * var", "0 * var", says=("visibility timeout of 5 s does not fit",)),
    Break("default security group closed", "network/main.tf", "egress  = []", 'egress = [{ protocol = "-1", from_port = 0, to_port = 0, cidr_blocks = ["0.0.0.0/0"], description = "", ipv6_cidr_blocks = [], prefix_list_ids = [], security_groups = [], self = false }]'),
    Break("role within its boundary", "iam/main.tf", "= var.permissions_boundary_arn", "= null"),
    Break("role's boundary handed on", "pipeline/main.tf", "permissions_boundary_arn = var.settings.permissions_boundary == null ? null :", "permissions_boundary_arn = true ? null :"),
    Break("access log's encryption", "s3/encryption.tf", '"AES256" : "aws:kms"', '"aws:kms" : "aws:kms"'),
    Break("access log goes", "s3/lifecycle.tf", "for_each = var.lifecycle_days.expire[*]", "for_each = []"),
    Break("access log kept", "pipeline/main.tf", "expire = var.settings.access_log_days", "expire = 1"),
    Break("delete markers go", "s3/lifecycle.tf", "expired_object_delete_marker = true", "expired_object_delete_marker = false"),
    Break("raw objects archived, not results", "pipeline/main.tf", "{ raw = var.settings.archive_after_days, processed = null, rejected = null }", "{ raw = null, processed = var.settings.archive_after_days, rejected = null }"),
    Break("object lock's mode", "s3/main.tf", '"GOVERNANCE"', '"COMPLIANCE"'),
    Break("function in its network", "pipeline/main.tf", "= one(module.network[*].function)", "= null"),
    Break("nobody connects to the function", "network/main.tf", 'description = "The function: out to S3, nothing in"', 'ingress {\n    protocol = "-1"\n    from_port = 0\n    to_port = 0\n    cidr_blocks = ["0.0.0.0/0"]\n  }'),
    Break("no rule lets anybody in", "network/main.tf", ROUTE_TABLE, 'resource "aws_vpc_security_group_ingress_rule" "any" {\n  security_group_id = aws_security_group.function.id\n  ip_protocol = "-1"\n  cidr_ipv4 = "0.0.0.0/0"\n}\n' + ROUTE_TABLE),
    Break("no internet gateway", "network/main.tf", ROUTE_TABLE, 'resource "aws_internet_gateway" "any" {\n  vpc_id = aws_vpc.this.id\n}\n' + ROUTE_TABLE),
    Break("no other route", "network/main.tf", "  vpc_id = aws_vpc.this.id\n  tags   = merge(var.tags, { Name = var.name })\n", '  vpc_id = aws_vpc.this.id\n  route {\n    cidr_block = "0.0.0.0/0"\n    gateway_id = "igw-1"\n  }\n'),
    Break("nobody else invokes", "pipeline/trigger.tf", NOTIFICATION, 'resource "aws_lambda_permission" "any" {\n  action = "lambda:InvokeFunction"\n  function_name = module.lambda.function_name\n  principal = "*"\n}\n' + NOTIFICATION),
    Break("visibility handed on", "pipeline/main.tf", "= local.visibility_timeout_seconds", "= 30"),
    Break("failed events to the right queue", "pipeline/main.tf", "= module.queue.dead_letter_arn", "= local.queue_arns.ingestion"),
    Break("key of the queues", "pipeline/main.tf", "kms_key_arn                = module.kms.arn", f"kms_key_arn = {OTHER_KEY}"),
    Break("key of function and log", "pipeline/main.tf", "kms_key_arn       = module.kms.arn\n  failure", f"kms_key_arn = {OTHER_KEY}\n  failure"),
    Break("key of the topic", "pipeline/main.tf", "kms_key_arn     = module.kms.arn\n  alarm", f"kms_key_arn = {OTHER_KEY}\n  alarm"),
    Break("key of the topic for rejections", "pipeline/main.tf", "kms_key_arn = module.kms.arn\n  emails", f"kms_key_arn = {OTHER_KEY}\n  emails"),
    Break("key of the data buckets", "pipeline/main.tf", "{ arn = module.kms.arn }", f"{{ arn = {OTHER_KEY} }}"),
    Break("results to the processed bucket", "pipeline/main.tf", 'PROCESSED_BUCKET             = module.bucket["processed"]', 'PROCESSED_BUCKET = module.bucket["raw"]'),
    Break("metrics' namespace", "pipeline/main.tf", "= local.metrics_namespace\n  }", '= "Other"\n  }'),
    Break("metrics' service", "pipeline/main.tf", "POWERTOOLS_SERVICE_NAME      = local.function_name", 'POWERTOOLS_SERVICE_NAME = "other"'),
    Break("alarms name commands for this environment", "pipeline/main.tf", "environment     = var.environment", 'environment = "dev"'),
    Break("alarms name their section of the runbook", "monitoring/alarms.tf", "operations.md#${each.key}", "operations.md"),
    Break("alarms to their addresses", "pipeline/main.tf", "= var.settings.alarm_emails", "= []"),
    Break("role traces", "iam/main.tf", '["xray:PutTraceSegments", "xray:PutTelemetryRecords"]', '["xray:PutTraceSegments"]'),
    Break("state of dev locked", "env/backend.hcl", "use_lockfile = true", "use_lockfile = false"),
    Break("state of prod locked", "env/prod-backend.hcl", "use_lockfile = true", "use_lockfile = false"),
    Break("state of dev encrypted", "env/backend.hcl", "encrypt      = true", "encrypt = false"),
    Break("state of prod encrypted", "env/prod-backend.hcl", "encrypt      = true", "encrypt = false"),
    Break("state of bootstrap locked", "bootstrap/backend.tf", "use_lockfile = true", "use_lockfile = false"),
    Break("state of bootstrap encrypted", "bootstrap/backend.tf", "encrypt      = true", "encrypt = false"),
    Break("state bucket encrypted", "bootstrap/state.tf", 'sse_algorithm = "AES256"', 'sse_algorithm = "aws:kms"'),
    Break("GitHub's whole subjects", "bootstrap/github.tf", "${prefix}:environment:${role.environment}", "${prefix}:*"),
    Break("GitHub's subjects, no patterns", "bootstrap/github.tf", 'test     = "StringEquals"', 'test     = "StringLike"'),
    Break("GitHub's audience", "bootstrap/github.tf", 'values   = ["sts.amazonaws.com"]', 'values = ["*"]'),
    Break("apply from its environment only", "bootstrap/github.tf", '"-plan" : ""', '"-plan" : "*"'),
    Break("plan from its environment only", "bootstrap/github.tf", '"-plan" : ""', '"" : ""'),
    Break("apply from main only", "bootstrap/github.tf", 'each.value.role == "apply" ? [var.github.branch] : []', "[]"),
    Break("apply from a whole branch name", "bootstrap/github.tf", '"refs/heads/${condition.value}"', '"refs/heads/*"'),
    Break("plan changes nothing", "bootstrap/github.tf", 'plan  = ["read"]', 'plan  = ["read", "function"]'),
    Break("plan reads no object", "bootstrap/policies.tf", '"s3:GetBucket*",', '"s3:Get*",'),
    Break("alarms only tell their topic", "bootstrap/policies.tf", '["ForAllValues:StringEquals", "cloudwatch:AlarmActions", arn.topics],', ""),
    Break("nobody locked out of the key", "bootstrap/policies.tf", '["BoolIfExists", "kms:BypassPolicyLockoutSafetyCheck", "false"],', ""),
    Break("plan reads its own state", "bootstrap/policies.tf", 'actions = ["s3:GetObject"], resources = [arn.state]', 'actions = ["s3:GetObject"], resources = ["${local.state_bucket_arn}/*"]'),
    Break("plan decrypts no data", "bootstrap/policies.tf", '["StringLike", "kms:EncryptionContext:aws:lambda:FunctionArn", [arn.function, "${arn.function}:*"]],', ""),
    Break("plan reads no message", "bootstrap/policies.tf", '"sqs:ListQueueTags"]', '"sqs:ReceiveMessage"]'),
    Break("PassRole to Lambda only", "bootstrap/policies.tf", '"lambda.amazonaws.com"]', '["lambda.amazonaws.com", "ec2.amazonaws.com"]]'),
    Break("PassRole of its role only", "bootstrap/policies.tf", 'actions = ["iam:PassRole"], resources = [arn.role]', 'actions = ["iam:PassRole"], resources = ["*"]'),
    Break("permissions within the boundary", "bootstrap/policies.tf", ', conditions = [["StringEquals", "iam:PermissionsBoundary", arn.boundary]]', ""),
    Break("the boundary itself", "bootstrap/policies.tf", 'sid = "List", actions = ["s3:ListBucket"]', 'sid = "List", actions = ["s3:*"]'),
    Break("apply to its own names", "bootstrap/names.tf", "${prefix}-data-processor", "${prefix}*"),
    Break("apply to its own buckets", "bootstrap/names.tf", "${prefix}-${role}-????????", "${prefix}-*"),
    Break("apply to its own key", "bootstrap/policies.tf", 'sid = "ManageKey", resources = [local.keys], conditions = local.own[name]', 'sid = "ManageKey", resources = [local.keys]'),
    Break("apply to its own network", "bootstrap/policies.tf", 'resources = values(local.networked), conditions = local.own[name]', "resources = values(local.networked)"),
    Break("endpoints into its own route tables", "bootstrap/policies.tf", "resources = [local.networked.vpc-endpoint]", "resources = values(local.networked)"),
    Break("takes no other's key over", "bootstrap/policies.tf", "concat(local.new[name], local.own_or_none[name], [", "concat(local.new[name], ["),
    Break("apply reads no object", "bootstrap/policies.tf", '"${bucket}/smoke-test/*"], actions', '"${bucket}/*"], actions'),
    Break("lasting data is not deleted", "bootstrap/policies.tf", "contains(var.disposable_environments, name) ||", "true ||"),
    Break("apply feeds its function only", "bootstrap/policies.tf", ', conditions = [["ArnEquals", "lambda:FunctionArn", [arn.function, "${arn.function}:live"]]]', ""),
    Break("nothing changed anywhere", "bootstrap/policies.tf", '"sns:Unsubscribe"], resources = ["*"]', '"sns:Unsubscribe", "sns:DeleteTopic"], resources = ["*"]'),
    Break("state over TLS only", "bootstrap/state.tf", '"aws:SecureTransport"', '"aws:ViaAWSService"'),
    Break("state over TLS 1.2", "bootstrap/state.tf", '"1.2"', '"1.0"'),
    Break("state for this account", "bootstrap/state.tf", "value = local.account", 'value = "*"'),
    Break("state versioned", "bootstrap/state.tf", 'versioning_configuration {\n    status = "Enabled"', 'versioning_configuration {\n    status = "Suspended"'),
    Break("state's versions kept", "bootstrap/state.tf", "newer_noncurrent_versions = 20", "newer_noncurrent_versions = 1"),
    Break("state not public", "bootstrap/state.tf", "block_public_policy     = true", "block_public_policy = false"),
    Break("state without ACLs", "bootstrap/state.tf", "BucketOwnerEnforced", "BucketOwnerPreferred"),
]  # fmt: skip


def verdict(entry: Break) -> str:
    """Break a control in a copy; return what is wrong with its test, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for pattern in COPIED:
            for source in ROOT.glob(pattern):
                target = copy / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        (copy / ".venv").symlink_to(ROOT / ".venv")
        file = copy / entry.path
        text = file.read_text()
        if entry.old not in text:
            return f"{entry.control}: {entry.file} no longer holds: {entry.old}"
        file.write_text(text.replace(entry.old, entry.new))
        environment = terraform.environment(os.environ) | {"TF_DATA_DIR": str(copy / ".terraform")}
        said = ""
        codes = []
        for command in entry.tests(copy):
            with subprocess.Popen(
                ["bash", "-c", command],
                cwd=copy,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            ) as run:
                for line in run.stdout or ():
                    said += line
                    if any(red in " ".join(said.split()) for red in entry.says):
                        os.killpg(run.pid, signal.SIGKILL)  # red is red: the other tests would take most of the time
                        return ""
            codes.append(run.returncode)
        if not any(codes):
            return f"{entry.control}: taken away in {entry.file} and no test noticed"
        return f"{entry.control}: the copy does not work at all, so nothing is proved:\n{said}"


def main() -> None:
    """Break every control, two at a time, and report."""
    wanted = sys.argv[1:]
    entries = [entry for entry in BREAKS if not wanted or entry.control in wanted]
    if unknown := set(wanted) - {entry.control for entry in BREAKS}:
        sys.exit(f"error: no such control: {', '.join(sorted(unknown))}. {Path(__file__).name} names them.")
    faults = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for entry, fault in zip(entries, pool.map(verdict, entries), strict=True):
            print(f"{'ok  ' if not fault else 'GREEN'} {entry.control}", flush=True)
            faults += [fault] if fault else []
    print("\n".join(faults), file=sys.stderr)
    print(f"{len(entries) - len(faults)} passed, {len(faults)} failed")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
