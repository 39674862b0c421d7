"""Find what a deploy that died had made and not yet noted in the state.

Reads `terraform show -json PLAN`; prints address and import ID of each resource that the plan would create under a name
that is taken. Only after a deploy has died is that its own; else it may be somebody's, and Terraform rightly refuses to
touch it. What it cannot find out it does not guess: it ends with the cause.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import boto3
from account import reason
from botocore.exceptions import BotoCoreError, ClientError

Values = dict[str, Any]


def role(planned: Values) -> str:
    """Return the import ID of an existing role. Raises ClientError when there is none; so do the others."""
    return str(boto3.client("iam").get_role(RoleName=planned["name"])["Role"]["RoleName"])


def log_group(planned: Values) -> str:
    """Return the import ID of a log group, empty when there is none."""
    found = boto3.client("logs").describe_log_groups(logGroupNamePrefix=planned["name"])["logGroups"]
    return str(planned["name"]) if planned["name"] in [group["logGroupName"] for group in found] else ""


def key_alias(planned: Values) -> str:
    """Return the import ID of a key's alias."""
    boto3.client("kms").describe_key(KeyId=planned["name"])
    return str(planned["name"])


def queue(planned: Values) -> str:
    """Return the import ID of a queue."""
    return str(boto3.client("sqs").get_queue_url(QueueName=planned["name"])["QueueUrl"])


def function(planned: Values) -> str:
    """Return the import ID of a function."""
    return str(
        boto3.client("lambda").get_function(FunctionName=planned["function_name"])["Configuration"]["FunctionName"]
    )


def alias(planned: Values) -> str:
    """Return the import ID of a function's alias."""
    boto3.client("lambda").get_alias(FunctionName=planned["function_name"], Name=planned["name"])
    return f"{planned['function_name']}/{planned['name']}"


def permission(planned: Values) -> str:
    """Return the import ID of a permission to invoke an alias, empty when it is not given."""
    name, qualifier, statement = planned["function_name"], planned["qualifier"], planned["statement_id"]
    policy = json.loads(boto3.client("lambda").get_policy(FunctionName=name, Qualifier=qualifier)["Policy"])
    given = statement in [existing["Sid"] for existing in policy["Statement"]]
    return f"{name}:{qualifier}/{statement}" if given else ""


def source_mapping(planned: Values) -> str:
    """Return the import ID of an event source mapping, empty when there is none."""
    mappings = boto3.client("lambda").list_event_source_mappings(
        FunctionName=planned["function_name"], EventSourceArn=planned["event_source_arn"]
    )
    return str((mappings["EventSourceMappings"] or [{"UUID": ""}])[0]["UUID"])


def policy(planned: Values) -> str:
    """Return the import ID of a policy of this account."""
    _, partition, _, _, account, _ = boto3.client("sts").get_caller_identity()["Arn"].split(":")
    arn = f"arn:{partition}:iam::{account}:policy/{planned['name']}"
    return str(boto3.client("iam").get_policy(PolicyArn=arn)["Policy"]["Arn"])


def oidc_provider(planned: Values) -> str:
    """Return the import ID of a provider of identities, empty when there is none."""
    found = boto3.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
    end = f"/{planned['url'].removeprefix('https://')}"
    return next((provider["Arn"] for provider in found if provider["Arn"].endswith(end)), "")


FINDERS: dict[str, Callable[[Values], str]] = {
    "aws_iam_role": role,
    "aws_iam_policy": policy,
    "aws_iam_openid_connect_provider": oidc_provider,
    "aws_cloudwatch_log_group": log_group,
    "aws_kms_alias": key_alias,
    "aws_sqs_queue": queue,
    "aws_lambda_function": function,
    "aws_lambda_alias": alias,
    "aws_lambda_permission": permission,
    "aws_lambda_event_source_mapping": source_mapping,
}


NOT_THERE = (
    "NoSuchEntity",
    "NotFoundException",
    "ResourceNotFoundException",
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
)


def find(change: dict[str, Any]) -> str:
    """Return the import ID of what a change would create; empty when it is not there, or has no name yet.

    Raises SystemExit when AWS does not say whether it is there.
    """
    try:
        return FINDERS[change["type"]](change["change"]["after"])
    except KeyError:  # a name that the plan does not know yet, as what it belongs to is missing
        return ""
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] in NOT_THERE:
            return ""
        sys.exit(
            f"error: {change['address']} cannot be looked for: {reason(error)}. Check your permissions and repeat."
        )


def main() -> None:
    """Print what can be adopted."""
    for change in json.load(sys.stdin).get("resource_changes", []):
        if change["change"]["actions"] == ["create"] and change["type"] in FINDERS and (found := find(change)):
            print(change["address"], found)


if __name__ == "__main__":
    main()
