"""deploy.sh deletes data only with consent, and rolls back what was deployed. One story, in order."""

import json
import re
import shlex
import subprocess
from typing import Any

import boto3
import pytest
from accounts import FUNCTION, PATIENTS, STATE_BUCKET, Clone, changes
from commands import rollback
from commands.aws import Account
from commands.settings import ROOT
from commands.state import Pipeline
from commands.terminal import Refused


@pytest.fixture(scope="module")
def clone(clone: Clone) -> Clone:
    """Return a clone that has deployed dev."""
    clone.run("deploy", "dev")
    return clone


KEY = 'module.pipeline["dev"].module.kms.aws_kms_key.this'
LOG_BUCKET = 'module.pipeline["dev"].module.log_bucket.aws_s3_bucket.this'
PRIVATE_NETWORK = 'private_network = { availability_zones = ["us-east-1a", "us-east-1b"] }'
REFUSED = "error: this plan deletes data, so nothing was changed. "


def test_a_plan_that_replaces_a_bucket_is_refused(clone: Clone) -> None:
    before = clone.account.pipelines()
    clone.edit("env/dev.tfvars", "dev = {", "dev = { object_lock_days = 1,")
    assert clone.refused("deploy", "dev").startswith(REFUSED)
    on_a_terminal = clone.typed("dev", "deploy", "dev", CI="true")
    assert on_a_terminal.stderr.splitlines()[-1].startswith(REFUSED)
    clone.edit("env/dev.tfvars", " object_lock_days = 1,", "")
    assert clone.account.pipelines() == before


def test_a_plan_that_replaces_the_key_is_refused(clone: Clone) -> None:
    clone.terraform("taint", KEY)
    assert clone.refused("deploy", "dev").startswith(REFUSED)
    clone.terraform("untaint", KEY)


def test_a_bucket_is_replaced_with_the_option_or_the_typed_name(clone: Clone) -> None:
    clone.terraform("taint", LOG_BUCKET)
    output = clone.run("deploy", "dev", "--allow-data-loss")
    assert f"\nDELETES DATA: {LOG_BUCKET}\n" in output
    assert "The smoke test passed" in output

    clone.terraform("taint", LOG_BUCKET)
    clone.edit("env/dev.tfvars", "dev = {", "dev = { memory_mb = 512,")  # to have a second version, for a rollback
    other = clone.typed("prod", "deploy", "dev")
    assert other.stderr.splitlines()[-1].startswith("error: the name does not match; ")
    run = clone.typed("dev", "deploy", "dev")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "This deletes data for good. Type dev to continue: " in run.stdout
    assert changes(clone.run("plan", "dev")) == []


SECTION = (ROOT / "docs/operations.md").read_text().partition("\n## Roll back a bad version\n")[2].partition("\n## ")[0]
ROLL_BACK = [
    shlex.split(line.replace("$ENV", "dev"))[1:]
    for block in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    for line in block.splitlines()
]


def test_a_broken_function_fails_the_smoke_test_and_can_be_rolled_back(clone: Clone) -> None:
    good = clone.version()
    clone.edit("lambda_function.py", "record.patient_id, record.patient_name", "record.patient_id, record.patient_id")
    message = clone.refused("deploy", "dev")
    assert re.fullmatch(
        r"error: the smoke test failed: ikerian-data-pipeline-raw-data-\S+\.json gave the wrong result\. "
        r"Look at \./deploy\.sh logs dev --once; \./deploy\.sh rollback dev returns to the previous version\.",
        message,
    ), message
    assert clone.version() != good
    back, reprocess, redrive = ROLL_BACK
    output = clone.run(*back)
    assert clone.version() == good
    assert "The smoke test passed" in output
    clone.run(*reprocess)
    clone.run(*redrive)
    (result,) = clone.account.process_sample().values()
    assert result == PATIENTS


def test_rollback_goes_to_the_version_that_is_named(clone: Clone) -> None:
    good, bad = clone.version(), "1"
    assert "now runs version 1 of 20" in clone.run("rollback", "dev", bad)
    assert clone.version() == bad
    for wrong in ("9999", bad, "live"):
        assert re.fullmatch(
            rf"error: cannot roll back to version {wrong}; version 1 stays live\. Available: "
            r"1 \(\S+ \S+\), 2 \(\S+ \S+\), 3 \(\S+ \S+\)\.",
            clone.refused("rollback", "dev", wrong),
        )
    assert clone.refused("rollback", "dev").startswith("error: no version is older than 1, which is live. ")
    clone.run("rollback", "dev", good)
    assert clone.version() == good


def test_rollback_does_not_overwrite_a_concurrent_change(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in clone.account.environment().items():
        monkeypatch.setenv(name, value)
    session: Any = boto3.Session()
    outputs = json.loads(clone.terraform("output", "-json", "pipelines"))["dev"]
    pipeline = Pipeline.from_outputs("dev", "dev", outputs, Account(session))

    def deploy(**_: object) -> None:
        clone.account.client("lambda").update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="1")

    good = clone.version()
    session.events.register("before-call.lambda.ListVersionsByFunction", deploy)
    with pytest.raises(Refused) as refused:
        rollback.move(pipeline, None)
    assert str(refused.value).startswith(
        f"{FUNCTION} was not rolled back: UpdateAlias PreconditionFailedException. The alias changed at the same time."
    )
    assert clone.version() == "1"
    clone.run("rollback", "dev", good)


def network(clone: Clone, version: str = "live") -> str:
    """Return the network that a version runs in, empty for none."""
    functions = clone.account.client("lambda")
    config = functions.get_function_configuration(FunctionName=FUNCTION, Qualifier=version)["VpcConfig"]
    return str(config["VpcId"])


def test_one_deploy_puts_the_function_into_a_new_private_network(clone: Clone) -> None:
    outside = clone.version()
    clone.edit("lambda_function.py", "record.patient_id, record.patient_id", "record.patient_id, record.patient_name")
    clone.edit("env/dev.tfvars", "dev = {", f"dev = {{ {PRIVATE_NETWORK},")
    output = clone.run("deploy", "dev")
    assert "WARNING: The network of ikerian-data-pipeline-data-processor is new" in output
    assert network(clone)
    assert changes(clone.run("plan", "dev")) == []
    inside = clone.version()
    clone.run("rollback", "dev", outside)
    assert not network(clone)
    clone.run("rollback", "dev", inside)


def test_the_function_changes_networks_before_the_old_one_is_deleted(clone: Clone) -> None:
    old, version = network(clone), clone.version()
    clone.edit("env/dev.tfvars", "us-east-1b", "us-east-1c")
    _, output, errors = clone.end(clone.start("deploy", "dev"))
    assert f"Deleting {old}: " in errors
    assert re.search(rf"^Deleted the versions of {FUNCTION} .*: {version}\.$", errors, re.MULTILINE)
    assert network(clone) not in ("", old), output
    assert changes(clone.run("plan", "dev")) == []
    live = clone.version()
    assert clone.refused("rollback", "dev", version).startswith(
        f"error: cannot roll back to version {version}; version {live} stays live. "
    )


def test_the_function_leaves_its_network_before_it_is_deleted(clone: Clone) -> None:
    clone.edit("env/dev.tfvars", f"{PRIVATE_NETWORK.replace('us-east-1b', 'us-east-1c')},", "")
    clone.run("deploy", "dev")
    assert not network(clone)
    assert changes(clone.run("plan", "dev")) == []


def test_an_older_state_is_restored_as_documented(clone: Clone) -> None:
    (commands,) = re.findall(r"```bash\n([^`]*state push[^`]*)```", (ROOT / "docs/going-back.md").read_text())
    s3, key = clone.account.client("s3"), "dev/terraform.tfstate"
    older = s3.list_object_versions(Bucket=STATE_BUCKET, Prefix=key)["Versions"][1]["VersionId"]
    commands = commands.replace("ACCOUNT-REGION", "000000000000-us-east-1").replace("VERSION", older)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=clone.folder,
        env=clone.account.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert older in run.stdout
    now, then = (
        json.loads(s3.get_object(Bucket=STATE_BUCKET, Key=key, **version)["Body"].read())["resources"]
        for version in ({}, {"VersionId": older})
    )
    assert now == then


def test_destroy_requires_the_environments_name(clone: Clone) -> None:
    assert clone.refused("destroy", "dev").startswith("error: destroy asks for the environment's name, ")
    run = clone.typed("prod", "destroy", "dev")
    assert run.returncode == 1
    assert re.fullmatch(r"error: the name does not match; .*\n", run.stderr)
    assert clone.account.pipelines()


def test_destroy(clone: Clone) -> None:
    run = clone.typed("dev", "destroy", "dev")
    assert run.returncode == 0, run.stdout + run.stderr
    assert clone.account.pipelines() == []
    assert clone.account.client("lambda").list_functions()["Functions"] == []
