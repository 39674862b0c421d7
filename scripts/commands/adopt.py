"""Find the resources that a deploy created but, because it died, did not record in the state.

A plan would create them again under the same names, which are taken. Only after a deploy has died are they its own.
Otherwise they may be somebody else's, and Terraform rightly refuses to touch them. Nothing is guessed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from commands.aws import reason
from commands.terminal import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from commands.aws import Account

type Values = dict[str, Any]


def role(account: Account, planned: Values) -> str:
    """Return the import ID of an existing role. Raises ClientError when there is none, as do some others."""
    return str(account.client("iam").get_role(RoleName=planned["name"])["Role"]["RoleName"])


def log_group(account: Account, planned: Values) -> str:
    """Return the import ID of a log group, empty when there is none."""
    found = account.client("logs").describe_log_groups(logGroupNamePrefix=planned["name"])["logGroups"]
    return str(planned["name"]) if planned["name"] in [group["logGroupName"] for group in found] else ""


def key_alias(account: Account, planned: Values) -> str:
    """Return the import ID of a key's alias."""
    account.client("kms").describe_key(KeyId=planned["name"])
    return str(planned["name"])


def queue(account: Account, planned: Values) -> str:
    """Return the import ID of a queue."""
    return str(account.client("sqs").get_queue_url(QueueName=planned["name"])["QueueUrl"])


def function(account: Account, planned: Values) -> str:
    """Return the import ID of a function."""
    return str(
        account.client("lambda").get_function(FunctionName=planned["function_name"])["Configuration"]["FunctionName"]
    )


def alias(account: Account, planned: Values) -> str:
    """Return the import ID of a function's alias."""
    account.client("lambda").get_alias(FunctionName=planned["function_name"], Name=planned["name"])
    return f"{planned['function_name']}/{planned['name']}"


def permission(account: Account, planned: Values) -> str:
    """Return the import ID of a permission to invoke an alias, empty when it is not granted."""
    name, qualifier, statement = planned["function_name"], planned["qualifier"], planned["statement_id"]
    policy = json.loads(account.client("lambda").get_policy(FunctionName=name, Qualifier=qualifier)["Policy"])
    given = statement in [existing["Sid"] for existing in policy["Statement"]]
    return f"{name}:{qualifier}/{statement}" if given else ""


def source_mapping(account: Account, planned: Values) -> str:
    """Return the import ID of an event source mapping, empty when there is none."""
    mappings = account.client("lambda").list_event_source_mappings(
        FunctionName=planned["function_name"], EventSourceArn=planned["event_source_arn"]
    )
    return str((mappings["EventSourceMappings"] or [{"UUID": ""}])[0]["UUID"])


def policy(account: Account, planned: Values) -> str:
    """Return the import ID of a policy of this account."""
    partition = account.arn.split(":")[1]
    arn = f"arn:{partition}:iam::{account.id}:policy/{planned['name']}"
    return str(account.client("iam").get_policy(PolicyArn=arn)["Policy"]["Arn"])


def oidc_provider(account: Account, planned: Values) -> str:
    """Return the import ID of an OIDC identity provider, empty when there is none."""
    found = account.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
    end = f"/{planned['url'].removeprefix('https://')}"
    return next((provider["Arn"] for provider in found if provider["Arn"].endswith(end)), "")


FINDERS: dict[str, Callable[[Account, Values], str]] = {
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


def find(account: Account, change: dict[str, Any]) -> str:
    """Return the import ID of the resource that a change would create; empty if it does not exist or has no name yet.

    Raises Refused when AWS does not say whether it exists.
    """
    try:
        return FINDERS[change["type"]](account, change["change"]["after"])
    except KeyError:  # the plan does not know the name yet, because the resource that it depends on is missing
        return ""
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] in NOT_THERE:
            return ""
        raise Refused(
            f"{change['address']} could not be searched for: {reason(error)}. Check your permissions, then run this "
            "again."
        ) from None


def adoptable(plan: dict[str, Any], account: Account) -> Iterator[tuple[str, str]]:
    """Yield the address and import ID of each resource that a plan would create but AWS already has. Raises Refused."""
    for change in plan.get("resource_changes", []):
        if change["change"]["actions"] == ["create"] and change["type"] in FINDERS and (found := find(account, change)):
            yield change["address"], found
