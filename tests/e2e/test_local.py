"""./deploy.sh local, as a person runs it."""

import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from accounts import PATIENTS, fresh_copy
from by_hand import is_false_drift, terraform
from commands.settings import ROOT
from local_aws.process import LocalAws
from pipeline import Pipeline
from shared_aws import as_a_person, deploy, free_port, processes_of
from trap import Trap
from waiting import wait_for

Run = subprocess.CompletedProcess[str]


def printed_records(output: str) -> list[dict[str, str]]:
    """Return the processed JSON that the run printed."""
    found = re.search(r"^\[$.*?^\]$", output, re.MULTILINE | re.DOTALL)
    assert found, output
    records: list[dict[str, str]] = json.loads(found[0])
    return records


def test_first_run_prints_exactly_the_documented_patients(first_run: Run) -> None:
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    assert printed_records(first_run.stdout) == PATIENTS
    assert first_run.stderr == ""


def test_first_run_shows_the_function_log_and_where_the_time_went(first_run: Run) -> None:
    assert '"message":"processed"' in first_run.stdout
    assert re.search(r"^Apply to local +\d+ s$", first_run.stdout, re.MULTILINE)
    assert re.search(r"^Upload to result: \d+\.\d s$", first_run.stdout, re.MULTILINE)


def test_the_picture_in_the_readme_is_of_this_output(first_run: Run) -> None:
    def outline(line: str) -> str:
        """Return a line without numbers, IDs and spacing, which differ from run to run."""
        return re.sub(r"[0-9a-f-]{8,}|[\d.]+", "N", " ".join(line.split()))

    picture = re.findall(r"<text[^>]*>(.*)</text>", (ROOT / "docs/local-run.svg").read_text())
    command, *shown = map(html.unescape, picture)
    assert command == "$ ./deploy.sh local"
    for part, line in zip(shown, filter(str.strip, first_run.stdout.splitlines()), strict=True):
        assert outline(line).startswith(outline(part.rstrip("…")))


def test_no_process_is_left_after_a_run(processes_after_first_run: list[str]) -> None:
    assert processes_after_first_run == []


def test_no_other_account_is_touched_whatever_the_caller_has_set(first_run: Run, trap: Trap) -> None:
    assert first_run.returncode == 0
    assert trap.connections == 0
    assert "somebody-elses" not in first_run.stdout


def test_second_run_reuses_what_is_there(second_run: Run, first_run: Run, aws: LocalAws) -> None:
    assert printed_records(second_run.stdout) == PATIENTS
    bucket = re.compile(r"s3://[\w-]+-raw-data-\w+")
    assert bucket.findall(second_run.stdout)[0] == bucket.findall(first_run.stdout)[0]
    log = (aws.folder / "terraform/deploy.log").read_text()
    assert re.search(r"Resources: 0 added, \d+ changed, 0 destroyed", log)
    changed = re.findall(r"^(module\.\S+): Modifying", log, re.MULTILINE)
    assert [address for address in changed if not is_false_drift(address)] == []


def test_kept_exports_work_for_the_aws_command_and_terraform(second_run: Run, dev: Pipeline) -> None:
    lines = second_run.stdout.splitlines()
    exports = [line for line in lines if line.startswith(("export ", "unset "))]
    commands = [line.strip() for line in lines if line.startswith("  aws s3 ")]
    assert len(commands) == 2
    version_before = dev.s3.head_object(Bucket=dev.processed, Key="ikerian_sample.json")["VersionId"]
    script = "\n".join(["set -e", *exports, *commands])
    run = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "ikerian_sample.json" in run.stdout
    wait_for(
        "the upload's result",
        lambda: dev.s3.head_object(Bucket=dev.processed, Key="ikerian_sample.json")["VersionId"] != version_before,
    )


def test_verify_finds_nothing_wrong(second_run: Run, aws: LocalAws) -> None:
    assert second_run.returncode == 0
    run = deploy(aws, "verify", "local", "--json", **aws.environment())
    assert run.returncode == 0, run.stdout + run.stderr
    *rows, summary = [json.loads(line) for line in run.stdout.splitlines()]
    said = {row["row"]: row["answer"] for row in rows}
    # The local AWS shows its alarms as changed in every plan.
    assert {row for row, answer in said.items() if answer == "yes"} == {
        *("result", "large-result", "overwrite", "rejected", "log", "network"),
    }
    assert {answer for row, answer in said.items() if answer != "yes"} == {"not enforced here"}
    assert (said["plan"], summary["left"]) == ("not enforced here", [])


def test_a_run_beside_a_kept_one_uses_it_and_leaves_it_running(second_run: Run, aws: LocalAws) -> None:
    assert second_run.returncode == 0
    before = [line for line in processes_of(aws) if "_worker.py" not in line]  # the function's come and go
    assert before
    run = deploy(aws, "local")
    assert run.returncode == 0, run.stdout + run.stderr
    assert printed_records(run.stdout) == PATIENTS
    assert set(before) <= set(processes_of(aws))


def test_ctrl_c_stops_everything_and_the_next_run_continues(second_run: Run, tmp_path: Path) -> None:
    assert second_run.returncode == 0  # not beside a first run, which would share its time
    # In a copy whose environments are set up for something else.
    copy = fresh_copy(tmp_path)
    for file in copy.glob("env/*"):
        if "local" not in file.name:
            file.write_text("none of the business of local")
    other = LocalAws(port=free_port(), root=copy)
    try:
        run = subprocess.Popen(
            ["./deploy.sh", "local"],
            cwd=copy,
            env=as_a_person(other),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a terminal of its own: Ctrl-C reaches all that runs in it
        )
        log = other.folder / "terraform/deploy.log"
        wait_for("Terraform to create something", lambda: log.exists() and "Creating..." in log.read_text())
        os.killpg(run.pid, signal.SIGINT)
        output, _ = run.communicate()
        assert run.returncode == 130, output
        assert processes_of(other) == []
        other.start()
        # fails when the state is locked still
        terraform(other, "plan", "-input=false", "-lock-timeout=0s", "-var-file=env/local.tfvars")
    finally:
        other.stop()
        shutil.rmtree(other.folder, ignore_errors=True)


def test_a_port_in_use_is_reported_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = LocalAws(port=server.getsockname()[1])
        run = deploy(taken, "local")
    shutil.rmtree(taken.folder, ignore_errors=True)
    assert run.returncode == 1
    assert run.stderr == (
        f"error: port {taken.port} is in use by another program. "
        f"Stop that, or choose another port: LOCAL_AWS_PORT={taken.port + 1} ./deploy.sh local\n"
    )


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("function.zip", "The function package {path} is missing. Run ./deploy.sh build."),
        ("layer-x86_64.zip", "The layer package {path} is missing. Run ./deploy.sh build."),
    ],
)
def test_a_missing_package_stops_the_plan_and_names_the_command(
    second_run: Run, aws: LocalAws, tmp_path: Path, package: str, message: str
) -> None:
    assert second_run.returncode == 0
    shutil.copytree(ROOT / "build", tmp_path, dirs_exist_ok=True)
    (tmp_path / package).unlink()
    folder = os.path.relpath(tmp_path, ROOT)
    options = ["-no-color", "-input=false", "-var-file=env/local.tfvars", f"-var=packages_dir={folder}"]
    run = terraform(aws, "plan", *options, check=False)
    assert run.returncode == 1
    assert message.format(path=f"./{folder}/{package}") in " ".join(run.stderr.replace("│", " ").split())
