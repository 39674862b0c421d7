"""dev and prod in one state: plans are empty, the role has no unused permission, and destroy leaves nothing."""

import json
import re
from typing import Any

from accounts import STATE_BUCKET
from by_hand import BOTH, PRIVATE, changes, is_false_drift, terraform, variables
from local_aws.process import LocalAws
from pipeline import RECORDS, Pipeline
from shared_aws import deploy


def test_each_environment_processes_its_own_files_only(both: dict[str, Pipeline], aws: LocalAws) -> None:
    assert aws
    for name, pipeline in both.items():
        pipeline.await_result(f"{name}.json", pipeline.upload(f"{name}.json", RECORDS))
    assert both["dev"].result("prod.json") is None
    assert both["prod"].result("dev.json") is None


# What the role may do and the local AWS never sees it do, with the reason.
UNSEEN = {
    "logs:CreateLogStream": "Lambda writes the log as the role; the emulator as itself",
    "logs:PutLogEvents": "the same",
    "sqs:SendMessage": "Lambda sends failed events as the role; the emulator as itself",
    "sqs:ReceiveMessage": "Lambda polls the queue as the role; the emulator as itself",
    "sqs:DeleteMessage": "the same",
    "sqs:GetQueueAttributes": "the same",
    "kms:GenerateDataKey": "S3 and SQS ask KMS in the role's name; the emulator does not ask",
    "kms:Decrypt": "the same",
    "xray:PutTraceSegments": "Lambda sends traces as the role; the emulator has none",
    "xray:PutTelemetryRecords": "the same",
    "ec2:CreateNetworkInterface": "Lambda attaches the function to its network as the role; the emulator does not",
    "ec2:DescribeNetworkInterfaces": "the same",
    "ec2:DescribeSubnets": "the same",
    "ec2:DeleteNetworkInterface": "the same",
    "ec2:AssignPrivateIpAddresses": "the same",
    "ec2:UnassignPrivateIpAddresses": "the same",
}


def actions(policy: dict[str, Any]) -> set[str]:
    found = [statement["Action"] for statement in policy["Statement"] if statement["Effect"] == "Allow"]
    return {action for one in found for action in ([one] if isinstance(one, str) else one)}


def test_the_role_has_no_permission_that_it_does_not_use(both: dict[str, Pipeline], aws: LocalAws) -> None:
    """Compares the role with the calls of all tests before, so it needs the whole suite."""
    plan, _ = changes(aws, variables(aws, BOTH | {"dev": PRIVATE}))  # which needs the most
    allowed = {
        action
        for change in json.loads(terraform(aws, "show", "-json", str(plan)).stdout)["resource_changes"]
        if change["address"].startswith('module.pipeline["dev"].module.iam.aws_iam_role_policy.')
        for action in actions(json.loads(change["change"]["after"]["policy"]))
    }
    for pipeline in both.values():
        deployed = pipeline.iam.get_role_policy(RoleName=pipeline.function, PolicyName="pipeline")["PolicyDocument"]
        assert actions(deployed) <= allowed

    roles = tuple(f":assumed-role/{pipeline.function}/" for pipeline in both.values())
    calls = [line.split(" ") for line in aws.calls.read_text().splitlines()]
    seen = {action for principal, action in calls if any(role in principal for role in roles)}
    assert sorted(allowed - seen - set(UNSEEN)) == [], "the role may do what it never does"
    assert sorted(set(UNSEEN) - (allowed - seen)) == [], "listed as never seen, and seen or not even allowed"


def test_a_second_plan_is_empty(both: dict[str, Pipeline], aws: LocalAws) -> None:
    assert set(both) == {"dev", "prod"}
    _, touched = changes(aws, variables(aws, BOTH))
    assert {address: action for address, action in touched.items() if not is_false_drift(address)} == {}
    assert all(action == ["update"] for action in touched.values())


def test_plain_outputs_are_empty_with_two_environments(both: dict[str, Pipeline], aws: LocalAws) -> None:
    assert both
    assert "raw_data_bucket_name" not in json.loads(terraform(aws, "output", "-json").stdout)


def test_destroy_refuses_a_state_whose_prod_keeps_its_data(both: dict[str, Pipeline], aws: LocalAws) -> None:
    assert both
    run = deploy(aws, "destroy", "local", "--yes", **aws.environment())
    assert run.returncode == 1
    assert re.fullmatch(r"error: prod keeps its data\. .* force_destroy = true in env/local\.tfvars, .*\n", run.stderr)
    assert both["prod"].result("prod.json")


def test_destroy_leaves_nothing(both: dict[str, Pipeline], aws: LocalAws) -> None:
    both_may_go = {"dev": BOTH["dev"], "prod": {**BOTH["prod"], "force_destroy": True}}
    terraform(aws, "apply", "-input=false", "-auto-approve", variables(aws, both_may_go))
    run = deploy(aws, "destroy", "local", "--yes", **aws.environment())
    assert run.returncode == 0, run.stdout + run.stderr

    dev = both["dev"]
    assert [b["Name"] for b in dev.s3.list_buckets()["Buckets"]] == [STATE_BUCKET]
    assert dev.functions.list_functions()["Functions"] == []
    assert dev.functions.list_layers()["Layers"] == []
    assert [r for r in dev.iam.list_roles()["Roles"] if "ikerian" in r["RoleName"]] == []
    assert dev.sqs.list_queues().get("QueueUrls", []) == []
    assert dev.logs.describe_log_groups()["logGroups"] == []
    assert dev.client("sns").list_topics()["Topics"] == []
    assert dev.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert dev.client("cloudwatch").list_dashboards()["DashboardEntries"] == []
    assert dev.functions.list_event_source_mappings()["EventSourceMappings"] == []
    keys = [dev.client("kms").describe_key(KeyId=k["KeyId"]) for k in dev.client("kms").list_keys()["Keys"]]
    assert {k["KeyMetadata"]["KeyState"] for k in keys if k["KeyMetadata"]["KeyManager"] == "CUSTOMER"} == {
        "PendingDeletion"
    }
    assert (
        json.loads(terraform(aws, "show", "-json").stdout).get("values", {}).get("root_module", {}).get("resources", [])
        == []
    )
