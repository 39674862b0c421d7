"""What deploy.sh does when things go wrong, in an account of its own that is empty at first. One story, in order."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import wait_for
from delivery import SETTINGS, Account, empty_account, fresh_copy

FUNCTION = "ikerian-data-pipeline-data-processor"
QUEUE = "ikerian-data-pipeline-ingestion"
STATE = "ikerian-data-pipeline-tfstate-000000000000-us-east-1"
FALSE_DRIFT = "aws_cloudwatch_metric_alarm."


class Clone:
    """A fresh clone, worked on from a shell that is signed in to the account."""

    def __init__(self, folder: Path, account: Account) -> None:
        self.folder, self.account, self.runs = fresh_copy(folder), account, 0

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start ./deploy.sh. What it prints goes to files: nobody reads meanwhile, and a full pipe would stop it."""
        self.runs += 1
        with self._file("output").open("w") as output, self._file("errors").open("w") as errors:
            return subprocess.Popen(
                ["./deploy.sh", *arguments],
                cwd=self.folder,
                env=self.account.environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def _file(self, name: str) -> Path:
        return self.folder.parent / f"{self.runs}-{name}.txt"

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Wait for the last start; return its exit code and what it printed."""
        return process.wait(), self._file("output").read_text(), self._file("errors").read_text()

    def run(self, *arguments: str, **environment: str) -> str:
        """Run ./deploy.sh, which must succeed; return what it prints."""
        status, output, errors = self.end(self.start(*arguments, **environment))
        assert status == 0, output[-4000:] + errors[-4000:]
        return output

    def refused(self, *arguments: str, **environment: str) -> str:
        """Run ./deploy.sh, which must fail; return the last line of what it says, the cause with the remedy."""
        status, output, errors = self.end(self.start(*arguments, **environment))
        assert status == 1, output[-4000:]
        last = errors.splitlines()[-1]
        assert last.startswith("error: "), errors[-4000:]
        return last

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def version(self) -> str:
        """Return the function's version that uploads start."""
        alias = self.account.client("lambda").get_alias(FunctionName=FUNCTION, Name="live")
        return str(alias["FunctionVersion"])


def changes(output: str) -> list[str]:
    """Return what the summary of a plan names, apart from false drift."""
    lines = re.findall(r"^(?:add|change|destroy|replace|forget) +(.*)$", output, re.MULTILINE)
    return [line for line in lines if FALSE_DRIFT not in line]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    with empty_account() as account:
        yield Clone(tmp_path_factory.mktemp("delivery"), account)


def test_a_fork_may_set_up_its_environments_as_it_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fork").mkdir()
    fork = fresh_copy(tmp_path / "fork")
    for name in ("dev.tfvars", "backend.hcl", "bootstrap.tfvars", "staging.tfvars"):
        (fork / "env" / name).write_text('environments = { dev = { account_id = "111122223333" } }')
    monkeypatch.setattr("delivery.ROOT", fork)
    files = {file.name: file.read_text() for file in fresh_copy(tmp_path).glob("env/*")}
    assert {name: files[name] for name in SETTINGS} == SETTINGS
    assert set(files) - set(SETTINGS) == {"local.tfvars", "local-backend.hcl"}


def test_never_deployed(clone: Clone) -> None:
    assert clone.refused("plan") == (
        "error: dev was never deployed from account 000000000000. Deploy it: ./deploy.sh deploy dev"
    )


def test_no_credentials(clone: Clone) -> None:
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    assert clone.refused("deploy", **nobody) == (
        "error: AWS does not know you: Unable to locate credentials. Set AWS_PROFILE, or sign in again, and repeat."
    )


def test_bootstrap(clone: Clone) -> None:
    clone.run("bootstrap", "dev")
    s3 = clone.account.client("s3")
    assert s3.get_bucket_versioning(Bucket=STATE)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=STATE)["PublicAccessBlockConfiguration"].values())
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=STATE)["Contents"]] == ["bootstrap/terraform.tfstate"]


def test_a_first_deploy_killed_in_the_middle_is_finished_by_the_next(clone: Clone) -> None:
    process = clone.start("deploy", "dev")
    s3, sqs = clone.account.client("s3"), clone.account.client("sqs")
    # Terraform waits 25 s before it notes a queue. The second one is made when the state has been saved once.
    wait_for("the queue", lambda: sqs.list_queues(QueueNamePrefix=QUEUE).get("QueueUrls"))
    wait_for("the state", lambda: s3.list_objects_v2(Bucket=STATE, Prefix="dev/terraform.tfstate")["KeyCount"] == 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    locked = clone.refused("deploy", "dev")
    found = re.fullmatch(
        r"error: dev is locked by \S+ since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(OperationTypeApply\)\. "
        r"Wait for that to end\. If it has died: \./deploy\.sh (unlock dev [0-9a-f-]{36})",
        locked,
    )
    assert found, locked
    assert f"/{QUEUE}\n" in clone.run(*found[1].split(" "))
    assert "The smoke test passed" in clone.run("deploy", "dev")


def test_a_second_deploy_from_another_clone_and_a_second_bootstrap_change_nothing(clone: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path, clone.account)
    assert "Apply complete! Resources: 0 added, 0 changed, 0 destroyed." in other.run("bootstrap", "dev")
    assert changes(other.run("deploy", "dev")) == []


def test_nothing_stays_of_the_smoke_test(clone: Clone) -> None:
    s3 = clone.account.client("s3")
    for buckets in clone.account.pipelines():
        for bucket in buckets:
            assert "Versions" not in s3.list_object_versions(Bucket=bucket)


def test_the_wrong_account_is_refused(clone: Clone) -> None:
    clone.edit("env/dev.tfvars", "dev = {}", 'dev = { account_id = "111122223333" }')
    assert clone.refused("deploy", "dev") == (
        "error: dev belongs to account 111122223333, and these credentials are of 000000000000. Nothing was done. "
        "Use the right profile, or mend account_id in env/dev.tfvars."
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
    assert clone.refused("apply", "dev") == "error: there is no saved plan for dev. Make one: ./deploy.sh plan dev"


def test_two_deploys_at_once_leave_one_sound_state(clone: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path, clone.account)
    other.edit("env/dev.tfvars", "dev = {}", "dev = { memory_mb = 1536 }")
    started = [(each, each.start("deploy", "dev")) for each in (clone, other)]
    ended = [each.end(process) for each, process in started]
    assert 0 in [status for status, _, _ in ended]
    for status, _, errors in ended:
        assert status == 0 or errors.splitlines()[-1].startswith("error: "), errors
    clone.run("deploy", "dev")
    assert changes(clone.run("plan", "dev")) == []


def test_a_plan_that_replaces_a_bucket_is_refused(clone: Clone) -> None:
    before = clone.account.pipelines()
    clone.edit("env/dev.tfvars", "dev = {", "dev = { object_lock_days = 1,")
    assert clone.refused("deploy", "dev") == (
        "error: this plan deletes data, so nothing was changed. If it is meant: "
        "./deploy.sh deploy dev --allow-data-loss"
    )
    assert clone.account.pipelines() == before
    clone.edit("env/dev.tfvars", " object_lock_days = 1,", "")


def test_a_broken_function_fails_the_smoke_test_and_rollback_brings_the_one_before_back(clone: Clone) -> None:
    good = clone.version()
    clone.edit("lambda_function.py", "record.patient_id, record.patient_name", "record.patient_id, record.patient_id")
    message = clone.refused("deploy", "dev")
    assert re.fullmatch(
        r"error: the smoke test failed: something else came of ikerian-data-pipeline-raw-data-\S+\.json\. "
        rf"Look at the log group /aws/lambda/{FUNCTION}; \./deploy\.sh rollback dev returns to the version before\.",
        message,
    ), message
    assert clone.version() != good
    output = clone.run("rollback", "dev")
    assert clone.version() == good
    assert "The smoke test passed" in output
    (result,) = clone.account.process_sample().values()
    assert [record["patient_name"] for record in result] == ["Ada Example", "Ben Example"]


def test_destroy_asks_and_takes_no_other_name(clone: Clone) -> None:
    assert clone.refused("destroy", "dev") == (
        "error: destroy asks for the environment's name and there is no terminal. Pass --yes to go without."
    )
    ours, theirs = pty.openpty()
    os.write(ours, b"prod\n")
    run = subprocess.run(
        ["./deploy.sh", "destroy", "dev"],
        cwd=clone.folder,
        env=clone.account.environment(),
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert run.returncode == 1
    assert run.stderr == "error: that is not its name, so nothing was changed.\n"
    assert clone.account.pipelines()


def test_destroy(clone: Clone) -> None:
    clone.run("destroy", "dev", "--yes")
    assert clone.account.pipelines() == []
    assert clone.account.client("lambda").list_functions()["Functions"] == []
