"""Interrupted and concurrent deploys, in an account that is empty at first. One story, in order."""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from accounts import FUNCTION, SETTINGS, STATE_BUCKET, Clone, changes, empty_account, fresh_copy
from waiting import wait_for

QUEUE = "ikerian-data-pipeline-ingestion"


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a command and then all that it has started."""
    listing = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, listing.splitlines())}
    doomed = [process.pid]
    while more := [child for child, parent in parents.items() if parent in doomed and child not in doomed]:
        doomed += more
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


LOCKED = (
    r"error: (\w+) is locked by \S+ since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(OperationType(?:Apply|Plan)\)\. "
    r".* \./deploy\.sh (unlock dev [0-9a-f-]{36}(?: --bootstrap)?)"
)
STALE = r"error: the plan for \w+ is out of date, .* \./deploy\.sh (?:deploy|plan|bootstrap) dev"


@pytest.fixture(scope="module")
def first_deploys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[list[tuple[Clone, int, str]]]]:
    """Deploy dev from two clones concurrently to an empty account, while other tests run: Terraform mostly waits."""
    with empty_account() as account, ThreadPoolExecutor() as pool:
        clones = [Clone(tmp_path_factory.mktemp("first"), account) for _ in range(2)]

        def deploy() -> list[tuple[Clone, int, str]]:
            started = [(clone, clone.start("deploy", "dev")) for clone in clones]
            ended = [(clone, clone.end(process)) for clone, process in started]
            return [(clone, status, errors) for clone, (status, _, errors) in ended]

        yield pool.submit(deploy)


def test_a_fork_may_set_up_its_environments_as_it_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fork").mkdir()
    fork = fresh_copy(tmp_path / "fork")
    for name in ("dev.tfvars", "backend.hcl", "bootstrap.tfvars", "staging.tfvars"):
        (fork / "env" / name).write_text('environments = { dev = { account_id = "111122223333" } }')
    monkeypatch.setattr("accounts.ROOT", fork)
    files = {file.name: file.read_text() for file in fresh_copy(tmp_path).glob("env/*")}
    assert {name: files[name] for name in SETTINGS} == SETTINGS
    assert set(files) - set(SETTINGS) == {"local.tfvars", "local-backend.hcl"}


@pytest.mark.usefixtures("first_deploys")  # they start here
def test_never_deployed(clone: Clone) -> None:
    assert clone.refused("plan").startswith("error: dev was never deployed from account 000000000000. ")


def test_no_credentials(clone: Clone) -> None:
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    assert clone.refused("deploy", **nobody).startswith("error: there are no AWS credentials. ")


def test_a_bootstrap_killed_in_the_middle_leaves_a_lock_that_can_be_released(clone: Clone) -> None:
    process = clone.start("deploy", "dev")
    made = "aws_s3_bucket_versioning.state: Creation complete"
    wait_for("bootstrap to be applied", lambda: made in clone.printed())
    kill(process)

    locked = re.fullmatch(LOCKED, clone.refused("deploy", "dev"))
    assert locked
    assert locked[1] == "bootstrap"
    clone.run(*locked[2].split(" "))


def test_a_first_deploy_killed_in_the_middle_is_finished_by_the_next(clone: Clone) -> None:
    process = clone.start("deploy", "dev")
    s3, sqs = clone.account.client("s3"), clone.account.client("sqs")
    # Terraform waits 25 s before it notes a queue. The second one is made when the state has been saved once.
    wait_for("the queue", lambda: sqs.list_queues(QueueNamePrefix=QUEUE).get("QueueUrls"))
    wait_for(
        "the state", lambda: s3.list_objects_v2(Bucket=STATE_BUCKET, Prefix="dev/terraform.tfstate")["KeyCount"] == 2
    )
    assert "== Apply to bootstrap\n" in clone.printed()
    kill(process)

    locked = re.fullmatch(LOCKED, clone.refused("deploy", "dev"))
    assert locked
    assert locked[1] == "dev"
    assert f"/{QUEUE}\n" in clone.run(*locked[2].split(" "))
    assert "dev is not locked." in clone.run(*locked[2].split(" "))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_deploy_saves_its_state_and_leaves_no_lock(clone: Clone, number: int) -> None:
    process = clone.start("deploy", "dev")
    wait_for("the deploy to make something", lambda: "Creating..." in clone.printed())
    os.kill(process.pid, number)  # as GitHub does, which signals no other process
    status, output, errors = clone.end(process)
    assert status == 128 + number, output
    assert "Apply to dev" in output
    assert errors.splitlines()[-1] == (
        "error: interrupted. What was done is in the state; run the same command again to continue."
    )
    found = clone.account.client("s3").list_objects_v2(Bucket=STATE_BUCKET)["Contents"]
    assert sorted(item["Key"] for item in found) == ["bootstrap/terraform.tfstate", "dev/terraform.tfstate"]


def test_the_next_deploy_finishes_an_interrupted_one(clone: Clone) -> None:
    assert "The smoke test passed" in clone.run("deploy", "dev")
    s3 = clone.account.client("s3")
    assert s3.get_bucket_versioning(Bucket=STATE_BUCKET)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=STATE_BUCKET)["PublicAccessBlockConfiguration"].values())


def test_a_second_deploy_from_another_clone_and_a_second_bootstrap_change_nothing(clone: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path, clone.account)
    assert "Apply complete! Resources: 0 added, 0 changed, 0 destroyed." in other.run("bootstrap", "dev")
    assert changes(other.run("deploy", "dev")) == []


def test_the_smoke_test_leaves_nothing(clone: Clone) -> None:
    s3 = clone.account.client("s3")
    for buckets in clone.account.pipelines():
        for bucket in buckets:
            assert "Versions" not in s3.list_object_versions(Bucket=bucket)


def test_the_wrong_account_is_refused(clone: Clone) -> None:
    clone.edit("env/dev.tfvars", "dev = {}", 'dev = { account_id = "111122223333" }')
    assert clone.refused("deploy", "dev").startswith(
        "error: dev belongs to account 111122223333, and these credentials belong to 000000000000. Nothing was done. "
    )
    clone.edit("env/dev.tfvars", "111122223333", "000000000000")
    assert changes(clone.run("plan", "dev")) == []


def test_apply_does_what_the_plan_showed(clone: Clone) -> None:
    clone.edit("env/dev.tfvars", "dev = {", "dev = { memory_mb = 512,")
    function, alias = "aws_lambda_function.this", "aws_lambda_alias.live"
    assert [line.split("lambda.")[1] for line in changes(clone.run("plan", "dev"))] == [alias, function]
    clone.edit("env/dev.tfvars", "512", "768")
    clone.run("apply", "dev")
    settings = clone.account.client("lambda").get_function_configuration(FunctionName=FUNCTION)
    assert settings["MemorySize"] == 512
    assert clone.refused("apply", "dev").startswith("error: there is no saved plan for dev. ")


def test_concurrent_deploys_leave_one_sound_state(clone: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path, clone.account)
    other.edit("env/dev.tfvars", "dev = {}", "dev = { memory_mb = 1536 }")
    started = [(each, each.start("deploy", "dev")) for each in (clone, other)]
    ended = [each.end(process) for each, process in started]
    assert 0 in [status for status, _, _ in ended]
    for status, _, errors in ended:
        assert status == 0 or re.fullmatch(f"{LOCKED}|{STALE}", errors.splitlines()[-1]), errors
    clone.run("deploy", "dev")
    assert changes(clone.run("plan", "dev")) == []


def test_concurrent_first_deploys_leave_one_sound_state(first_deploys: Future[list[tuple[Clone, int, str]]]) -> None:
    ended = first_deploys.result()
    assert 0 in [status for _, status, _ in ended]
    for clone, status, errors in ended:
        assert status == 0 or re.fullmatch(f"{LOCKED}|{STALE}", errors.splitlines()[-1]), errors
        assert changes(clone.run("deploy", "dev")) == []


def test_a_lock_is_reported_with_its_owner_time_and_how_to_release_it(clone: Clone, tmp_path: Path) -> None:
    lock = {"ID": "3f2a7c1e-0000-4000-8000-123456789abc", "Who": "ada@laptop", "Operation": "OperationTypeApply"}
    more = {
        "Created": "2026-08-01T07:30:00.5Z",
        "Info": "",
        "Version": "1.11.4",
        "Path": f"{STATE_BUCKET}/dev/terraform.tfstate",
    }
    s3 = clone.account.client("s3")
    s3.put_object(Bucket=STATE_BUCKET, Key="dev/terraform.tfstate.tflock", Body=json.dumps(lock | more).encode())
    other = Clone(tmp_path, clone.account)
    with ThreadPoolExecutor() as pool:  # each tries for half a minute
        runs = [pool.submit(clone.refused, "deploy", "dev"), pool.submit(other.refused, "destroy", "dev", "--yes")]
    for run in runs:
        assert run.result().startswith("error: dev is locked by ada@laptop since 2026-08-01 07:30:00 UTC ")
        assert run.result().endswith(f" ./deploy.sh unlock dev {lock['ID']}")
    assert clone.refused("unlock", "dev", "other").startswith("error: dev stays locked.")
    clone.run("plan", "dev")
    clone.run("unlock", "dev", lock["ID"])
    assert clone.account.pipelines()


def test_an_outdated_saved_plan_is_not_applied(clone: Clone, tmp_path: Path) -> None:
    clone.run("plan", "dev")
    other = Clone(tmp_path, clone.account)
    other.edit("env/dev.tfvars", "dev = {}", "dev = { log_retention_days = 30 }")
    other.run("deploy", "dev")
    assert re.fullmatch(STALE, clone.refused("apply", "dev"))
    clone.run("deploy", "dev")
