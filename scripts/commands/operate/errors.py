"""Translate failed calls to AWS for whoever operates a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, IncompleteReadError, ParamValidationError

from commands import aws

if TYPE_CHECKING:
    from commands.state import Pipeline

# Error codes, which differ from service to service.
NO_KEY = {"KMS.AccessDeniedException", "KmsAccessDenied"}
REFUSED = {"403", "AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
THROTTLED = {"503", "KmsThrottled", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "SlowDown"}
THROTTLED |= {"Throttling", "ThrottlingException", "TooManyRequestsException"}
ABSENT = {"NoSuchBucket", "ResourceNotFoundException", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
# The IAM actions of these calls.
ACTIONS = {
    "CompleteMultipartUpload": "s3:PutObject (and kms:Decrypt)",
    "CreateMultipartUpload": "s3:PutObject (and kms:GenerateDataKey)",
    "DeleteObject": "s3:DeleteObject (and s3:DeleteObjectVersion)",
    "CopyObject": "s3:GetObjectVersion and s3:PutObject (and kms:GenerateDataKey)",
    "GetBucketInventoryConfiguration": "s3:GetInventoryConfiguration",
    "GetObject": "s3:GetObject (and kms:Decrypt)",
    "GetObjectTagging": "s3:GetObjectVersionTagging",
    "HeadObject": "s3:GetObject (and s3:ListBucket)",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
    "PutObject": "s3:PutObject (and kms:GenerateDataKey)",
    "UploadPart": "s3:PutObject (and kms:GenerateDataKey)",
    "GetAlias": "lambda:GetAlias",
    "GetFunctionConfiguration": "lambda:GetFunctionConfiguration",
    "FilterLogEvents": "logs:FilterLogEvents",
    "BatchGetTraces": "xray:BatchGetTraces",
    "DescribeAlarmHistory": "cloudwatch:DescribeAlarmHistory",
    "DescribeAlarms": "cloudwatch:DescribeAlarms",
    "DescribeInternetGateways": "ec2:DescribeInternetGateways",
    "DescribeSubnets": "ec2:DescribeSubnets",
    "DescribeVpcs": "ec2:DescribeVpcs",
    "GetMetricData": "cloudwatch:GetMetricData",
    "SetAlarmState": "cloudwatch:SetAlarmState",
    "SimulatePrincipalPolicy": "iam:SimulatePrincipalPolicy",
    "GetQueueAttributes": "sqs:GetQueueAttributes",
    "ReceiveMessage": "sqs:ReceiveMessage (and kms:Decrypt)",
    "SendMessageBatch": "sqs:SendMessage (and kms:GenerateDataKey)",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}


def explain(error: Exception, pipeline: Pipeline | None = None) -> str:
    """Return the cause and the remedy of a failed call to AWS, in one line."""
    if isinstance(error, IncompleteReadError):
        return "an answer of AWS broke off. Run this again."
    if isinstance(error, ParamValidationError):
        return f"AWS does not accept that value: {str(error).splitlines()[-1]}. Correct the options."
    if not isinstance(error, ClientError):
        return aws.explain(error)
    code, call = error.response["Error"]["Code"], error.operation_name
    if code in NO_KEY:
        return f"AWS refuses {call}. These credentials need kms:Decrypt (and kms:GenerateDataKey) on its key."
    if code in REFUSED:
        return f"AWS refuses {call}. These credentials need the permission {ACTIONS.get(call, call)}."
    if code in aws.EXPIRED | aws.UNKNOWN_CALLER:
        return aws.explain(error)
    if code in THROTTLED:
        return f"AWS keeps throttling {call}. Wait a little, or lower --rate, then run this again."
    if code in ABSENT and pipeline:
        again = f"./deploy.sh deploy {pipeline.file}"
        return f"{call} finds nothing ({code}). If {pipeline.name} was destroyed, deploy it again: {again}"
    return f"{call} failed ({code}). Try again; if it stays, AWS says: {error.response['Error'].get('Message', '')}"
