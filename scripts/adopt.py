"""Find what a deploy that died had made and not yet noted in the state.

Reads `terraform show -json PLAN`; prints address and import ID of each resource that the plan would create under a name
that is taken. Only after a deploy has died is that its own; else it may be somebody's, and Terraform rightly refuses to
touch it.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import ClientError

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
    mappings = boto3.client("lambda").list_event_source_mappings(FunctionName=planned["function_name"])
    return str((mappings["EventSourceMappings"] or [{"UUID": ""}])[0]["UUID"])


FINDERS: dict[str, Callable[[Values], str]] = {
    "aws_iam_role": role,
    "aws_cloudwatch_log_group": log_group,
    "aws_kms_alias": key_alias,
    "aws_sqs_queue": queue,
    "aws_lambda_function": function,
    "aws_lambda_alias": alias,
    "aws_lambda_permission": permission,
    "aws_lambda_event_source_mapping": source_mapping,
}


def main() -> None:
    """Print what can be adopted."""
    for change in json.load(sys.stdin).get("resource_changes", []):
        if change["change"]["actions"] != ["create"] or change["type"] not in FINDERS:
            continue
        try:
            found = FINDERS[change["type"]](change["change"]["after"])
        except (
            ClientError,
            KeyError,
        ):  # KeyError: the plan does not know the name yet, as what it belongs to is missing
            continue
        if found:
            print(change["address"], found)


if __name__ == "__main__":
    main()
