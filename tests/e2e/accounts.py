"""AWS accounts that are empty at first, each on a local AWS of its own, and clones of the repository to work from."""

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import python_env
from by_hand import is_false_drift
from commands.settings import ROOT
from local_aws.process import LocalAws
from shared_aws import client, free_port
from waiting import wait_for

SAMPLE = "ikerian_sample.json"
FUNCTION = "ikerian-data-pipeline-data-processor"
STATE_BUCKET = "ikerian-data-pipeline-tfstate-000000000000-us-east-1"
PATIENTS = [
    {"patient_id": "A12345", "patient_name": "Ikerian A"},
    {"patient_id": "B67890", "patient_name": "Ikerian B"},
]
NOT_IN_A_CLONE = (
    ".git",
    ".venv",
    ".local",
    ".terraform",
    ".terraform-*",
    "build",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
)


BACKEND = 'key = "{}/terraform.tfstate"\nregion = "us-east-1"\nencrypt = true\nuse_lockfile = true\n'
NOT_THERE = "saved_queries = false\nrequest_metrics = false\n"  # in the local AWS, as env/local.tfvars says
SETTINGS = {
    "bootstrap.tfvars": "",
    "dev.tfvars": "environments = {\n  dev = {}\n}\n" + NOT_THERE,
    "backend.hcl": BACKEND.format("dev"),
    "prod.tfvars": 'environments = {\n  prod = {\n    ingestion = "queue"\n  }\n}\n' + NOT_THERE,
    "prod-backend.hcl": BACKEND.format("prod"),
}


def fresh_copy(folder: Path, *, installed: bool = True) -> Path:
    """Return a copy of this repository as a clone has it, with the tests' settings in place of a fork's own.

    installed: with packages for the commands and for the function, as after a first command.
    """
    copy = folder / "clone"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_IN_A_CLONE))
    if installed:
        (copy / ".venv").symlink_to(ROOT / ".venv")
        shutil.copytree(ROOT / "build", copy / "build", ignore=shutil.ignore_patterns("tmp*"))  # what is being built
    for file in copy.glob("env/*"):
        if not file.name.startswith("local"):
            file.unlink()
    for name, settings in SETTINGS.items():
        (copy / "env" / name).write_text(settings)
    return copy


@dataclass
class Account:
    """An AWS account of its own, on this machine."""

    aws: LocalAws

    def environment(self) -> dict[str, str]:
        """Return what a person's shell has, pointed at this account, without this repository's working folders."""
        own = ("GITHUB_", "RUNNER_", "ACTIONS_")  # when these tests run on GitHub themselves
        environment = self.aws.full_environment() | {"PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
        kept = {name: value for name, value in environment.items() if not name.startswith(own)}
        for name in ("CI", "TF_DATA_DIR", "VIRTUAL_ENV"):
            kept.pop(name, None)
        return kept

    def client(self, service: str) -> Any:
        return client(self.aws, service)

    def pipelines(self) -> list[tuple[str, str]]:
        """Return the raw and the processed bucket of every environment in the account."""
        names = [bucket["Name"] for bucket in self.client("s3").list_buckets()["Buckets"]]
        return [(name, name.replace("-raw-data-", "-processed-data-")) for name in names if "-raw-data-" in name]

    def sample_result(self, processed: str) -> Any:
        """Return the sample's records once they are in this bucket."""
        s3 = self.client("s3")

        def records() -> Any:
            with contextlib.suppress(s3.exceptions.NoSuchKey):
                return json.loads(s3.get_object(Bucket=processed, Key=SAMPLE)["Body"].read())

        return wait_for(f"the sample in {processed}", records)

    def process_sample(self) -> dict[str, Any]:
        """Upload the sample wherever it is missing; return its results by processed bucket."""
        s3 = self.client("s3")
        for raw, _ in self.pipelines():
            if not s3.list_objects_v2(Bucket=raw, Prefix=SAMPLE)["KeyCount"]:
                s3.upload_file(str(ROOT / SAMPLE), raw, SAMPLE)
        return {processed: self.sample_result(processed) for _, processed in self.pipelines()}


@contextlib.contextmanager
def empty_account() -> Iterator[Account]:
    # As ./deploy.sh local does it.
    python_env.make(ROOT / ".venv/local-aws", ROOT / "scripts/local_aws/requirements.txt")
    aws = LocalAws(port=free_port())
    try:
        aws.start()
        yield Account(aws)
    finally:
        aws.stop()
        shutil.rmtree(aws.folder, ignore_errors=True)


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

    def printed(self) -> str:
        """Return what the last start has printed up to now."""
        return self._file("output").read_text()

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Wait for the last start; return its exit code and what it printed."""
        return process.wait(), self.printed(), self._file("errors").read_text()

    def run(self, *arguments: str, **environment: str) -> str:
        """Run ./deploy.sh, which must succeed; return what it prints."""
        status, output, errors = self.end(self.start(*arguments, **environment))
        assert status == 0, output[-4000:] + errors[-4000:]
        return output

    def refused(self, *arguments: str, **environment: str) -> str:
        """Run ./deploy.sh, which must fail; return the last line of its errors: cause and remedy."""
        status, output, errors = self.end(self.start(*arguments, **environment))
        assert status == 1, output[-4000:]
        last = errors.splitlines()[-1]
        assert last.startswith("error: "), errors[-4000:]
        return last

    def typed(self, text: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ./deploy.sh on a terminal, with this typed."""
        ours, theirs = pty.openpty()
        os.write(ours, f"{text}\n".encode())
        run = subprocess.run(
            ["./deploy.sh", *arguments],
            cwd=self.folder,
            env=self.account.environment() | environment,
            stdin=theirs,
            capture_output=True,
            text=True,
            check=False,
        )
        os.close(ours)
        os.close(theirs)
        return run

    def terraform(self, *arguments: str, **environment: str) -> str:
        """Run Terraform on what the last ./deploy.sh has worked on; return what it prints."""
        return subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env=self.account.environment() | environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

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
    return [line for line in lines if not is_false_drift(line)]
