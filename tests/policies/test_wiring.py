"""What connects the modules: which names, keys and settings of an environment reach which resource.

The tests of the modules compare policies and resources in full, with names that are made up. These compare what the
pipeline and the root module put in: the names that each statement of each policy holds, and the settings.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from judge import ACCOUNT, BUCKETS, ENVIRONMENTS, REGION, SEVERAL, names, spelled_out
from rendered import Document, Rendered, render_or_exit

# What a statement of a policy names: its resources, and who asks for what under which conditions. @prod: there alone.
BUCKET = """
    DenyOtherEncryption: {self}/*
    DenyOtherKey: {self}/* {key}
    DenyUnnamedKey: {self}/*
    DenyCallersKey: {self}/*
    DenyInsecureTransport: {self} {self}/*
    DenyOutdatedTls: {self} {self}/*
    DenyOtherAccounts: {self} {self}/* 111122223333
"""
NAMED = {
    **{
        f'module.bucket["{role}"].aws_s3_bucket_policy.this': BUCKET.replace("{self}", f"{{{role}}}")
        for role in BUCKETS
    },
    "module.log_bucket.aws_s3_bucket_policy.this": """
        DenyInsecureTransport: {log} {log}/*
        DenyOutdatedTls: {log} {log}/*
        DenyOtherAccounts: {log} {log}/* 111122223333
        DeliverLogsOfRaw: {log}/raw/* {raw} 111122223333
        DeliverLogsOfProcessed: {log}/processed/* {processed} 111122223333
        DeliverLogsOfRejected: {log}/rejected/* {rejected} 111122223333
    """,
    "module.kms.aws_kms_key.this": """
        AccountDecides: arn:aws:iam::111122223333:root
        LogGroups: logs.us-east-1.amazonaws.com {log_group}
        BucketNotifications: {raw} {rejected} 111122223333
        Alarms: {alarms}
    """,
    "module.queue.aws_sqs_queue.ingestion": """
        DenyInsecureTransport: {ingestion}
        RawBucketNotifies: {ingestion} {raw} 111122223333
    """,
    "module.queue.aws_sqs_queue.dead_letter": "DenyInsecureTransport: {dead_letter}",
    "module.monitoring.module.alarms.aws_sns_topic_policy.this": """
        AlarmsPublish: {alarms} {every_alarm} 111122223333
        DenyInsecureTransport: {alarms}
    """,
    "module.rejections.aws_sns_topic_policy.this": """
        VerdictsPublish: {rejections} {rejected} 111122223333
        DenyInsecureTransport: {rejections}
    """,
    "module.iam.aws_iam_role.execution": "LambdaOnly:",
    "module.iam.aws_iam_role_policy.execution": """
        ReadRawObjects: {raw}/*
        TellAbsentFromForbidden@dev: {raw} {rejected}
        TellAbsentFromForbidden@prod: {raw} {rejected} {processed}
        WriteProcessedObjects: {processed}/*
        RemoveProcessedObjects@prod: {processed}/*
        WriteAndRemoveVerdicts: {rejected}/*
        WriteLog: {log_group}:*
        SendFailedEvents: {dead_letter}
        TakeMessages: {ingestion}
        UseKeyForObjects: {key} s3.us-east-1.amazonaws.com {data} {data}/*
        UseKeyForMessages: {key} sqs.us-east-1.amazonaws.com {ingestion} {dead_letter}
        ReadOwnVariables: {key} {function} {function}:*
        SendTraces:
    """,
    "module.iam.aws_iam_role_policy.network[0]": """
        AttachToNetwork@prod:
        NotFromTheCode@prod:
    """,
    "module.network[0].aws_vpc_endpoint.s3": "OnlyTheseBuckets@prod: {data} {data}/*",
    "aws_lambda_permission.s3": "AllowRawBucket: {function}:live {raw} 111122223333",
}


def values(content: Any) -> list[str]:
    """Return all texts in a document."""
    if isinstance(content, dict):
        content = list(content.values())
    return [text for each in content for text in values(each)] if isinstance(content, list) else [content]


def named(statement: Document) -> list[str]:
    """Return what a statement names of this account."""
    said = values([statement.get(element, []) for element in ("Resource", "Principal", "Condition")])
    return sorted(text for text in said if text.startswith("arn:") or ACCOUNT in text or REGION in text)


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render_or_exit()


def resources(rendered: Rendered, environment: str) -> dict[str, Document]:
    """Return the planned attributes of an environment's resources, by their addresses in the pipeline."""
    prefix = f'module.pipeline["{environment}"].'
    return {
        address.removeprefix(prefix): planned
        for address, planned in rendered.resources.items()
        if address.startswith(prefix)
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_statement_names_what_it_should(rendered: Rendered, environment: str) -> None:
    expected: dict[str, dict[str, list[str]]] = {}
    for policy, lines in NAMED.items():
        for line in lines.strip().splitlines():
            sid, _, words = line.strip().partition(":")
            sid, _, only = sid.partition("@")
            if only in ("", environment):
                texts = [word.format_map(names(environment)) for word in spelled_out(words)]
                expected.setdefault(policy, {})[sid] = sorted(texts)
    prefix = f'module.pipeline["{environment}"].'
    found = {
        policy.removeprefix(prefix): {each["Sid"]: named(each) for each in document["Statement"]}
        for policy, document in rendered.policies.items()
        if policy.startswith(prefix)
    }
    assert found == expected


def encryption(algorithm: str, key: str) -> Document:
    """Return the attributes of a bucket's encryption."""
    default = {"kms_master_key_id": key, "sse_algorithm": algorithm}
    return {"rule": [{"apply_server_side_encryption_by_default": [default], "bucket_key_enabled": bool(key)}]}


def wired(environment: str) -> dict[str, Document]:
    """Return the attributes by which the modules and the settings of rendered.tftest.hcl are connected."""

    def per_environment(dev: Any, prod: Any) -> Any:
        return {"dev": dev, "prod": prod}[environment]

    name = names(environment)
    key, function = name["key"], f"{name['prefix']}-data-processor"
    bucket = {role: name[role].rpartition(":")[2] for role in (*BUCKETS, "log")}
    architecture, force_destroy = per_environment("x86_64", "arm64"), per_environment(dev=True, prod=False)
    lock = {"default_retention": [{"days": 365, "mode": "GOVERNANCE", "years": None}]}
    metrics = {"namespace": "RetinaScanPipeline", "dimensions": {"service": function}}
    of_function = {"dimensions": {"FunctionName": function}}
    alarms: dict[str, Document] = {
        "function-errors": of_function,
        "function-throttles": of_function,
        "function-duration": of_function | {"threshold": per_environment(240_000, 48_000)},
        "rejected-files": metrics,
        "failed-files": metrics | {"period": per_environment(2100, 720)},
        "lost-events": of_function,
        "dead-letter-queue": {"dimensions": {"QueueName": f"{name['prefix']}-dead-letter"}},
        "oldest-message": {
            "dimensions": {"QueueName": f"{name['prefix']}-ingestion"},
            "threshold": per_environment(900, 180),
        },
    }
    buckets: dict[str, Document] = {}
    for role in BUCKETS:
        resource = f'module.bucket["{role}"].aws_s3_bucket'
        buckets |= {
            f"{resource}.this": {"bucket": bucket[role], "force_destroy": force_destroy},
            f"{resource}_server_side_encryption_configuration.this": encryption("aws:kms", key),
            f"{resource}_logging.this[0]": {"target_bucket": bucket["log"], "target_prefix": f"{role}/"},
            **per_environment({}, {f"{resource}_object_lock_configuration.this[0]": {"rule": [lock]}}),
        }
    return {
        "module.kms.aws_kms_key.this": {"deletion_window_in_days": per_environment(7, 30)},
        **buckets,
        "module.log_bucket.aws_s3_bucket.this": {"bucket": bucket["log"], "force_destroy": force_destroy},
        "module.log_bucket.aws_s3_bucket_server_side_encryption_configuration.this": encryption("AES256", ""),
        "module.queue.aws_sqs_queue.ingestion": {
            "kms_master_key_id": key,
            "visibility_timeout_seconds": per_environment(1800, 365),
        },
        "module.queue.aws_sqs_queue.dead_letter": {"kms_master_key_id": key},
        "aws_lambda_event_source_mapping.queue": {
            "scaling_config": [{"maximum_concurrency": per_environment(10, 7)}],
            "batch_size": per_environment(10, 3),
            "maximum_batching_window_in_seconds": per_environment(0, 5),
        },
        "module.iam.aws_iam_role.execution": {
            "permissions_boundary": per_environment(None, f"arn:aws:iam::{ACCOUNT}:policy/eyes-github-prod-boundary"),
        },
        **per_environment({}, {
            "module.network[0].aws_vpc.this": {"cidr_block": "10.1.0.0/24"},
            'module.network[0].aws_subnet.private["first"]': {"availability_zone": "us-east-1a"},
            'module.network[0].aws_subnet.private["second"]': {"availability_zone": "us-east-1b"},
        }),
        "module.layers.aws_lambda_layer_version.this": {
            "compatible_architectures": [architecture],
            "filename": f"./build/layer-{architecture}.zip",
        },
        "module.lambda.aws_cloudwatch_log_group.this": {
            "kms_key_id": key,
            "retention_in_days": per_environment(14, 30),
        },
        "module.lambda.aws_lambda_function.this": {
            "architectures": [architecture],
            "memory_size": per_environment(1024, 512),
            "timeout": per_environment(300, 60),
            "reserved_concurrent_executions": per_environment(-1, 9),
            "kms_key_arn": key,
            "environment": [{"variables": {
                "PROCESSED_BUCKET": bucket["processed"],
                "REJECTED_BUCKET": bucket["rejected"],
                "STALE_RESULTS": per_environment("keep", "remove"),
                "POWERTOOLS_SERVICE_NAME": function,
                "POWERTOOLS_METRICS_NAMESPACE": "RetinaScanPipeline",
            }}],
        },
        "module.lambda.aws_lambda_function_event_invoke_config.this": {
            "destination_config": [{"on_failure": [{"destination": name["dead_letter"]}], "on_success": []}],
        },
        "module.monitoring.module.alarms.aws_sns_topic.this": {"kms_master_key_id": key},
        "module.rejections.aws_sns_topic.this": {"kms_master_key_id": key},
        **{f'module.monitoring.aws_cloudwatch_metric_alarm.this["{alarm}"]': alarms[alarm] for alarm in alarms},
    }  # fmt: skip


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_keys_names_and_settings_reach_their_resources(rendered: Rendered, environment: str) -> None:
    planned = resources(rendered, environment)
    expected = wired(environment)
    assert {
        address: {attribute: planned.get(address, {}).get(attribute) for attribute in attributes}
        for address, attributes in expected.items()
    } == expected


@pytest.mark.parametrize(("environment", "networks"), [("dev", []), ("prod", [(["subnet-1"], ["sg-1"])])])
def test_the_function_is_in_its_private_network(
    rendered: Rendered, environment: str, networks: list[tuple[list[str], list[str]]]
) -> None:
    function = resources(rendered, environment)["module.lambda.aws_lambda_function.this"]
    assert [(each["subnet_ids"], each["security_group_ids"]) for each in function["vpc_config"]] == networks


@pytest.mark.parametrize(
    ("environment", "noncurrent", "archive", "access_log"), [("dev", 30, [], 90), ("prod", 31, [60], 120)]
)
def test_objects_are_kept_as_set(
    rendered: Rendered, environment: str, noncurrent: int, archive: list[int], access_log: int
) -> None:
    planned = resources(rendered, environment)
    kept = {}
    for bucket in [*(f'bucket["{role}"]' for role in BUCKETS), "log_bucket"]:
        rules = planned[f"module.{bucket}.aws_s3_bucket_lifecycle_configuration.this"]["rule"]
        kept[bucket] = {
            "noncurrent": [each["noncurrent_days"] for rule in rules for each in rule["noncurrent_version_expiration"]],
            "archive": [step["days"] for rule in rules for step in rule["transition"]],
            "expire": [rule["expiration"][0]["days"] for rule in rules if rule["id"] == "expire"],
        }
    data = {"noncurrent": [noncurrent], "archive": [], "expire": []}
    assert kept == {
        'bucket["raw"]': data | {"archive": archive},
        'bucket["processed"]': data,
        'bucket["rejected"]': data,
        "log_bucket": {"noncurrent": [1], "archive": [], "expire": [access_log]},
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_alarms_may_publish_and_name_commands_for_their_environment(rendered: Rendered, environment: str) -> None:
    planned = resources(rendered, environment)
    alarms = [planned[address] for address in planned if ".aws_cloudwatch_metric_alarm." in address]
    arns = [f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{alarm['alarm_name']}" for alarm in alarms]
    assert sorted(arns) == sorted(name.format_map(names(environment)) for name in SEVERAL["{every_alarm}"])
    commands = (re.findall(r"\./deploy\.sh ([^\n]+)", alarm["alarm_description"]) for alarm in alarms)
    assert {command for found in commands for command in found} == {
        f"audit {environment}",
        f"drift {environment}",
        f"failures {environment}",
        f"logs {environment} --once --since 1h",
        f"status {environment}",
    }


def test_each_optional_resource_is_there_where_a_setting_asks_for_it(rendered: Rendered) -> None:
    dev, prod = ({*resources(rendered, environment)} for environment in ENVIRONMENTS)
    assert dev - prod == set()
    assert {address for address in prod - dev if not address.startswith("module.network[0].")} == {
        "module.iam.aws_iam_role_policy.network[0]",
        *(f'module.bucket["{role}"].aws_s3_bucket_object_lock_configuration.this[0]' for role in BUCKETS),
        'module.monitoring.module.alarms.aws_sns_topic_subscription.email["oncall@example.org"]',
        'module.rejections.aws_sns_topic_subscription.email["sender@example.org"]',
    }
