"""Test the tables: change each rendered policy bit by bit, and expect a request to be judged otherwise.

A change takes a statement, an action, a resource, a condition or a value of one away, or widens it: a resource to *,
actions to all of their service, a principal to everybody, a value to whatever it may be. A change that no request
notices is reported; so is an entry of EQUIVALENT that no longer explains one. It fails where less than LEAST percent of
the changes to a policy are noticed.
"""

# ruff: noqa: E501 - one reason, one line

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from evaluator import iam
from judge import Policy, Request, World, rows
from rendered import Document, render

LEAST = 90

# Changes that no request can tell from the policy, by what they are called, and why.
EQUIVALENT = {
    r"aws_(s3_bucket|sns_topic)_policy\.\w+ Deny\w+: arn\S+ widened to \*$": "a resource's policy is asked about this resource alone",
    r"aws_sns_topic_policy\.this \w+Publish: arn\S+ widened to \*$": "a topic's policy is asked about this topic alone",
    r"aws_sqs_queue\.\w+ \w+: arn\S+ widened to \*$": "a queue's policy is asked about this queue alone",
    r"aws_s3_bucket_policy\.this Deny\w+(Encryption|Key): actions widened to s3:\*$": "nobody here may call another action that carries these keys",
    r"aws_sns_topic_policy\.this DenyInsecureTransport: actions widened to sns:\*$": "SNS takes no sns:* in the policy of a topic",
    r"LogGroups: kms:DescribeKey taken away$": "that call has no encryption context, so the condition never holds; AWS documents the statement so",
    r'github\["dev-data"\] SmokeTest: s3:DeleteObject(Version)? taken away$': "EmptyBuckets lets it do the same where data is disposable",
    r"NameKey: actions widened to kms:\*$": "AWS judges no other action of KMS by an alias",
    r"PassRole: actions widened to iam:\*$": "no other action carries iam:PassedToService",
    r"ManageDashboard: actions widened to cloudwatch:\*$": "of a dashboard there is nothing else but to read it, which ReadDashboard lets it do",
    r"TagNewParts: actions widened to ec2:\*$": "no other action carries ec2:CreateAction",
    r"TagNewParts: .*([Ss]ecurity-?[Gg]roup|:security-group/\*) taken away$": "AdoptDefaultSecurityGroup lets it tag new groups as well",
}


class Change(NamedTuple):
    """What is changed, and the statement that it is about, before and after; None: taken away."""

    name: str
    at: int
    statement: Document | None


def listed(value: Any) -> list[Any]:
    """Return a policy's value as a list, which stands there bare where it is one."""
    return value if isinstance(value, list) else [value]


def widened(operator: str, value: str) -> tuple[str, str]:
    """Return a condition that holds more often where it allows, or less where it denies."""
    kind = operator.removesuffix("IfExists")
    if kind in ("Bool", "Null"):
        return operator, "false" if value == "true" else "true"
    if kind.startswith("Numeric"):
        return operator, str(float(value) - 0.1)
    return re.sub("Equals(?=$|IfExists)", "Like", operator), "*"


def changes(document: Document) -> Iterator[Change]:
    """Yield every single change to a policy."""
    for at, statement in enumerate(document["Statement"]):
        yield Change(f"{statement['Sid']}: taken away", at, None)
        for name, element, value in edits(statement):
            yield Change(f"{statement['Sid']}: {name}", at, statement | {element: value})


def edits(statement: Document) -> Iterator[tuple[str, str, Any]]:
    """Yield what each change is called, and the element of the statement that it gives another value."""
    actions, resources = listed(statement["Action"]), listed(statement.get("Resource", "*"))
    for element, values in (("Action", actions), ("Resource", resources)):
        for value in values if len(values) > 1 else []:
            yield f"{value} taken away", element, without(values, value)
    for resource in without(resources, "*"):
        yield f"{resource} widened to *", "Resource", [*without(resources, resource), "*"]
    for every in sorted({f"{action.partition(':')[0]}:*" for action in actions} - set(actions)):
        yield f"actions widened to {every}", "Action", [*actions, every]
    if statement.get("Principal", "*") != "*":
        yield "principal widened to everybody", "Principal", "*"
    conditions = statement.get("Condition", {})
    for operator, key in [(operator, key) for operator, keys in conditions.items() for key in keys]:
        values = listed(conditions[operator][key])
        yield f"{operator} {key} taken away", "Condition", with_condition(conditions, operator, key, None)
        for value in without(values, "*"):
            called, wider, to = f"{operator} {key}: {value}", *widened(operator, value)
            kept = without(values, value) if wider == operator else []
            others = with_condition(conditions, operator, key, None)
            yield f"{called} widened to {to}", "Condition", with_condition(others, wider, key, [*kept, to])
            if len(values) > 1:
                fewer = with_condition(conditions, operator, key, without(values, value))
                yield f"{called} taken away", "Condition", fewer


def without(values: list[Any], value: Any) -> list[Any]:
    """Return the others."""
    return [other for other in values if other != value]


def with_condition(conditions: Document, operator: str, key: str, values: list[str] | None) -> Document:
    """Return conditions with other values for a key. None: without it."""
    keys = {name: value for name, value in conditions.get(operator, {}).items() if name != key}
    return conditions | {operator: keys if values is None else keys | {key: values}}


def notices(requests: list[Request], world: World, name: str, change: Change) -> bool:
    """Return whether a request is judged otherwise once a policy has been changed."""
    document = world.policies[name].document
    statements = list(document["Statement"])
    concerned = [statement for statement in (statements[change.at], change.statement) if statement]
    actions = {action for statement in concerned for action in listed(statement["Action"])}
    resources = {resource for statement in concerned for resource in listed(statement.get("Resource", "*"))}
    statements[change.at : change.at + 1] = [change.statement] if change.statement else []
    policies = world.policies | {name: Policy(document | {"Statement": statements})}
    return any(
        request.verdict(policies) != request.is_allowed
        for request in requests
        if any(iam.fnmatch_iam(request.action, action) for action in actions)
        and any(iam.fnmatch_iam(request.resource, resource) for resource in resources)
    )


def main() -> None:
    """Put the tables to all changes, and report."""
    began = time.monotonic()
    world = World(render())
    asking: dict[str, list[Request]] = defaultdict(list)
    for row in rows():
        for request in row.requests(world):
            for name in request.decided_by:
                asking[name].append(request)
    count = sum(len(row.requests(world)) for row in rows())
    survived, weak, total = dict[str, str](), [], 0
    for name in sorted(world.rendered.policies):
        done = killed = 0
        for change in changes(world.rendered.policies[name]):
            call = f"{name} {change.name}"
            if notices(asking[name], world, name, change):
                killed += 1
            else:
                survived[call] = next(
                    (reason for pattern, reason in EQUIVALENT.items() if re.search(pattern, call)), ""
                )
            done += not survived.get(call)
        total += done
        percent = 100 * killed // done if done else 100
        weak += [name] if percent < LEAST else []
        print(f"{percent:3} % of {done:3} changes noticed: {name}", flush=True)
    for call, reason in survived.items():
        if not reason:
            print(f"survived: {call}")
    explained = [pattern for pattern in EQUIVALENT if any(re.search(pattern, call) for call in survived)]
    for pattern in EQUIVALENT.keys() - set(explained):
        print(f"no longer survives: {pattern}")
    left = sum(not reason for reason in survived.values())
    print(
        f"{count} requests, {total} changes: {total - left} noticed, {left} survived, {len(survived) - left} make no difference; "
        f"{time.monotonic() - began:.0f} s"
    )
    if weak or len(explained) < len(EQUIVALENT):
        sys.exit(
            f"error: less than {LEAST} percent noticed of: {' '.join(weak) or 'none'}. Add requests to tests/policies/requests."
        )


if __name__ == "__main__":
    main()
