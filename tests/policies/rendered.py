"""The policies as Terraform renders them: read from the plans of the two files of tests that are called rendered."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from commands.terraform import environment
from parts import ROOT, TERRAFORM

FILTERS = (
    f"{TERRAFORM.root_tests} -filter=tests/terraform/rendered.tftest.hcl",
    f"{TERRAFORM.bootstrap_tests} -filter=tests/rendered.tftest.hcl",
)
Document = dict[str, Any]


class Rendered(NamedTuple):
    """The content of the plans.

    resources: planned attributes by address. policies: documents by the address of the resource that attaches them.
    attached: addresses of policies by that of the role that has them. boundaries: address of a policy by that of the
    role that it bounds.
    """

    resources: dict[str, dict[str, Any]]
    policies: dict[str, Document]
    attached: dict[str, list[str]]
    boundaries: dict[str, str]


@functools.cache
def render() -> Rendered:
    """Return the policies of both root modules. Raises RuntimeError with what Terraform says."""
    with ThreadPoolExecutor() as pool:
        return read([resource for plan in pool.map(_planned, FILTERS) for resource in plan])


def render_or_exit() -> Rendered:
    """Return the policies of both root modules. Ends pytest with what Terraform says: no test can run without them."""
    try:
        return render()
    except RuntimeError as error:
        pytest.exit(f"error: {error}", returncode=1)


def _planned(command: str) -> list[dict[str, Any]]:
    variables = environment(os.environ) | {"AWS_EC2_METADATA_DISABLED": "true"}
    run = subprocess.run(
        ["bash", "-c", f"{command} -json -verbose"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [json.loads(line) for line in run.stdout.splitlines()]
    for line in said:
        if run.returncode == 0 and line["type"] == "test_plan":
            changes: list[dict[str, Any]] = line["test_plan"]["resource_changes"]
            return changes
    errors = [_told(line["diagnostic"]) for line in said if line["type"] == "diagnostic"]
    failed = "the policies cannot be rendered. ./tests/run.sh terraform prepares it."
    raise RuntimeError("\n".join([failed, *errors, run.stderr]).rstrip())


def _told(diagnostic: dict[str, Any]) -> str:
    place = diagnostic.get("range")
    where = f"{place['filename']}:{place['start']['line']}: " if place else ""
    return f"{where}{diagnostic['summary']}: {diagnostic['detail']}"


def read(resources: list[dict[str, Any]]) -> Rendered:
    """Return the policies of a plan's resources."""
    rendered = Rendered({}, {}, {}, {})
    named: dict[str, str] = {}
    for resource in resources:
        address, kind, after = resource["address"], resource["type"], resource["change"]["after"] or {}
        rendered.resources[address] = after
        if kind == "aws_lambda_permission":
            rendered.policies[address] = _permission(after)
        elif kind.endswith("_policy") or kind in ("aws_kms_key", "aws_sqs_queue", "aws_vpc_endpoint"):
            rendered.policies[address] = json.loads(after["policy"])
        elif kind == "aws_iam_role":
            rendered.policies[address] = json.loads(after["assume_role_policy"])
        if kind == "aws_iam_policy":
            named[after["name"]] = address
        if kind == "aws_iam_role_policy":
            rendered.attached.setdefault(f"{resource['module_address']}.aws_iam_role.execution", []).append(address)
    for resource in resources:
        address, after = resource["address"], resource["change"]["after"] or {}
        if resource["type"] == "aws_iam_role" and after.get("permissions_boundary"):
            rendered.boundaries[address] = named[after["permissions_boundary"].rpartition("/")[2]]
        if resource["type"] == "aws_iam_role_policy_attachment":
            # Its policy has no ARN yet; what it attaches to which role is in its key: dev-apply-data.
            role, _, policy = resource["index"].rpartition("-")
            name = f'aws_iam_policy.github["{role.partition("-")[0]}-{policy}"]'
            rendered.attached.setdefault(f'aws_iam_role.github["{role}"]', []).append(name)
    return rendered


def _permission(after: dict[str, Any]) -> Document:
    """Return the statement that Lambda makes of a permission, as GetPolicy shows it."""
    function = f"arn:aws:lambda:us-east-1:111122223333:function:{after['function_name']}"
    conditions: Document = {}
    if after["source_account"]:
        conditions["StringEquals"] = {"AWS:SourceAccount": after["source_account"]}
    if after["source_arn"]:
        conditions["ArnLike"] = {"AWS:SourceArn": after["source_arn"]}
    statement = {
        "Sid": after["statement_id"],
        "Effect": "Allow",
        "Principal": {"Service": after["principal"]},
        "Action": after["action"],
        "Resource": f"{function}:{after['qualifier']}" if after["qualifier"] else function,
        "Condition": conditions,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
