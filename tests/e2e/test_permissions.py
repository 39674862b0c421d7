"""The permissions, the layer and the role that are deployed are the ones in force: without one, the pipeline fails."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import RECORDS, ROOT, Pipeline, wait_for


@contextmanager
def without(dev: Pipeline, action: str) -> Iterator[None]:
    """Take an action away from the execution role."""
    role, name = dev.function, "pipeline"
    policy = dev.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    smaller = json.loads(json.dumps(policy))
    for statement in smaller["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [a for a in actions if a != action]
    assert smaller != policy, f"the role has no {action}"
    smaller["Statement"] = [s for s in smaller["Statement"] if s["Action"]]
    dev.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(smaller))
    try:
        yield
    finally:
        dev.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject"])
def test_without_the_permission_a_file_fails_and_with_it_the_same_file_passes(dev: Pipeline, action: str) -> None:
    key = f"permission/{action[3:]}.json"
    with without(dev, action):
        dev.upload(key, RECORDS)
        failure = dev.await_failure()
        assert f"{action[3:]} AccessDenied" in failure["responsePayload"]["errorMessage"]
        assert dev.result(key) is None
    dev.await_result(key, dev.upload(key, RECORDS))


def broken_at_the_end() -> bytes:
    """Return a file whose result is larger than one part of a multipart upload, and which breaks off after that."""
    record = b'{"patient_id": "P-1", "patient_name": "' + b"N" * 200 + b'"},\n'
    return b"[" + record * (10_000_000 // len(record))


def unfinished_uploads(dev: Pipeline) -> list[str]:
    uploads = dev.s3.list_multipart_uploads(Bucket=dev.processed).get("Uploads", [])
    return [upload["Key"] for upload in uploads]


def test_a_large_file_that_breaks_off_leaves_no_upload_behind_unless_the_permission_is_missing(dev: Pipeline) -> None:
    dev.upload("abort/allowed.json", broken_at_the_end())
    assert "truncated" in dev.await_failure()["responsePayload"]["errorMessage"]
    assert unfinished_uploads(dev) == []
    with without(dev, "s3:AbortMultipartUpload"):
        dev.upload("abort/denied.json", broken_at_the_end())
        assert "truncated" in dev.await_failure()["responsePayload"]["errorMessage"]
        assert set(unfinished_uploads(dev)) == {"abort/denied.json"}
    for upload in dev.s3.list_multipart_uploads(Bucket=dev.processed)["Uploads"]:
        dev.s3.abort_multipart_upload(Bucket=dev.processed, Key=upload["Key"], UploadId=upload["UploadId"])
    assert dev.result("abort/allowed.json") is None


def test_without_the_layer_the_function_fails(dev: Pipeline) -> None:
    layers = dev.functions.get_function_configuration(FunctionName=dev.function)["Layers"]
    assert len(layers) == 1

    before = dev.functions.get_alias(FunctionName=dev.function, Name="live")["FunctionVersion"]

    def use(arns: list[str]) -> None:
        dev.functions.update_function_configuration(FunctionName=dev.function, Layers=arns)
        wait_for(
            "the function's update",
            lambda: (
                dev.functions.get_function_configuration(FunctionName=dev.function)["LastUpdateStatus"] == "Successful"
            ),
        )
        version = dev.functions.publish_version(FunctionName=dev.function)["Version"]
        dev.functions.update_alias(FunctionName=dev.function, Name="live", FunctionVersion=version)

    use([])
    try:
        dev.upload("no-layer.json", RECORDS)
        assert "No module named" in json.dumps(dev.await_failure()["responsePayload"])
        assert dev.result("no-layer.json") is None
    finally:
        use([layer["Arn"] for layer in layers])
        dev.functions.update_alias(FunctionName=dev.function, Name="live", FunctionVersion=before)
    dev.await_result("no-layer.json", dev.upload("no-layer.json", RECORDS))


def test_cloudsplaining_finds_nothing_in_the_role(dev: Pipeline, tmp_path: Path) -> None:
    policy = dev.iam.get_role_policy(RoleName=dev.function, PolicyName="pipeline")["PolicyDocument"]
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy))
    scanner = [str(ROOT / ".venv/scanners/bin/cloudsplaining"), "scan-policy-file", "--input-file", str(file)]
    run = subprocess.run(scanner, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "There were no results found.\n")
