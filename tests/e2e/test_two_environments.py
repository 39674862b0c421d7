"""dev and prod in one state at once, plans without changes, and a destroy that leaves nothing. Runs last."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import Pipeline, deploy, pipelines, terraform
from local_aws import LocalAws

BOTH = {"dev": {}, "prod": {"noncurrent_version_days": 90}}
RECORDS = b'[{"patient_id": "P-1", "patient_name": "Name"}]'


def variables(folder: Path, environments: Mapping[str, object]) -> str:
    path = folder / "both.tfvars.json"
    path.write_text(json.dumps({"environments": environments}))
    return f"-var-file={path}"


@pytest.fixture(scope="module")
def both(dev: Pipeline, aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pipeline]:
    """Add prod to the state that holds dev."""
    option = variables(tmp_path_factory.mktemp("both"), BOTH)
    plan = aws.folder / "both.tfplan"
    terraform(aws, "plan", "-input=false", option, f"-out={plan}")
    changes = json.loads(terraform(aws, "show", "-json", str(plan)).stdout)["resource_changes"]
    touched = {c["address"] for c in changes if c["change"]["actions"] not in (["no-op"], ["read"])}
    assert touched
    assert all(address.startswith('module.pipeline["prod"]') for address in touched), "adding prod touches dev"
    terraform(aws, "apply", "-input=false", str(plan))
    assert dev.outputs == pipelines(aws)["dev"].outputs
    return pipelines(aws)


def test_each_environment_processes_its_own_files_only(both: dict[str, Pipeline], aws: LocalAws) -> None:
    assert aws
    for name, pipeline in both.items():
        pipeline.await_result(f"{name}.json", pipeline.upload(f"{name}.json", RECORDS))
    assert both["dev"].result("prod.json") is None
    assert both["prod"].result("dev.json") is None


def test_a_second_plan_is_empty(both: dict[str, Pipeline], aws: LocalAws, tmp_path: Path) -> None:
    assert set(both) == {"dev", "prod"}
    run = terraform(
        aws, "plan", "-no-color", "-input=false", "-detailed-exitcode", variables(tmp_path, BOTH), check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_plain_outputs_are_empty_with_two_environments(both: dict[str, Pipeline], aws: LocalAws) -> None:
    assert both
    assert "raw_data_bucket_name" not in json.loads(terraform(aws, "output", "-json").stdout)


def test_destroy_refuses_a_state_whose_prod_keeps_its_data(both: dict[str, Pipeline], aws: LocalAws) -> None:
    assert both
    run = deploy(aws, "destroy", "dev", "--yes", **aws.environment())
    assert run.returncode == 1
    assert run.stderr == (
        "error: prod keeps its data. To delete that too, set force_destroy = true in env/dev.tfvars, deploy, "
        "and destroy again.\n"
    )
    assert both["prod"].result("prod.json")


def test_destroy_leaves_nothing(both: dict[str, Pipeline], aws: LocalAws, tmp_path: Path) -> None:
    for pipeline in both.values():
        for bucket in (pipeline.raw, pipeline.processed):
            # The local AWS cannot delete these by their listing; AWS can.
            for page in pipeline.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                for version in page.get("Versions", []):
                    if "%" in version["Key"] or "+" in version["Key"]:
                        pipeline.s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    both_may_go = {"dev": {}, "prod": {"noncurrent_version_days": 90, "force_destroy": True}}
    terraform(aws, "apply", "-input=false", "-auto-approve", variables(tmp_path, both_may_go))
    run = deploy(aws, "destroy", "dev", "--yes", **aws.environment())
    assert run.returncode == 0, run.stdout + run.stderr

    dev = both["dev"]
    assert [b["Name"] for b in dev.s3.list_buckets()["Buckets"]] == ["ikerian-data-pipeline-terraform-state"]
    assert dev.functions.list_functions()["Functions"] == []
    assert dev.functions.list_layers()["Layers"] == []
    assert [r for r in dev.iam.list_roles()["Roles"] if "ikerian" in r["RoleName"]] == []
    assert dev.sqs.list_queues().get("QueueUrls", []) == []
    assert dev.logs.describe_log_groups()["logGroups"] == []
    assert (
        json.loads(terraform(aws, "show", "-json").stdout).get("values", {}).get("root_module", {}).get("resources", [])
        == []
    )
