"""What the tests of deploys share: an empty account, a clone that is worked on, GitHub's runner."""

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import python_env
import yaml
from conftest import ROOT, free_port, is_false_drift, wait_for
from local_aws.process import LocalAws

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
    """Return a copy of this repository as a clone has it, with settings that the tests know: a fork has its own.

    installed: with packages for the commands and for the function, as after a first command.
    """
    copy = folder / "clone"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_IN_A_CLONE))
    if installed:
        (copy / ".venv").symlink_to(ROOT / ".venv")
        shutil.copytree(ROOT / "build", copy / "build")
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
        environment = self.aws.environment()
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            verify=environment["AWS_CA_BUNDLE"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

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
        """Upload the sample wherever it is not yet; return what comes out, by processed bucket."""
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
        """Run ./deploy.sh, which must fail; return the last line of what it says, the cause with the remedy."""
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


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / ".github" / path).read_text())


WORKFLOWS: dict[str, Any] = {path.stem: load(f"workflows/{path.name}") for path in ROOT.glob(".github/workflows/*.yml")}
SETUP = load("actions/setup/action.yml")
Context = Mapping[str, str]


def value(expression: str, context: Context) -> Any:
    """Evaluate an expression of a workflow. A name that is not in the context is empty, as on GitHub."""
    words = re.sub(r"[a-z]+(?:\.[\w-]+)+(?=(?:[^']*'[^']*')*[^']*$)", lambda name: f"get({name[0]!r}, '')", expression)
    python = words.replace("&&", " and ").replace("||", " or ")
    return eval(python, {"__builtins__": {}, "get": context.get})  # noqa: S307  our own files


def text(template: Any, context: Context) -> str:
    """Fill in the expressions of a text."""

    def filled(found: re.Match[str]) -> str:
        result = value(found[1], context)
        return str(result).lower() if isinstance(result, bool) else str(result)

    return re.sub(r"\$\{\{ *(.*?) *\}\}", filled, str(template))


@dataclass
class Run:
    """A run of one job: the environment of each command, and how it ended."""

    commands: list[str] = field(default_factory=list)
    output: str = ""
    summary: str = ""
    status: int = 0


@dataclass
class Runner:
    """What GitHub's runner does with a job, as far as these workflows need it.

    The actions from the marketplace are not run: this machine has Python and Terraform, and where the workflow takes
    credentials the commands get those of the local AWS, otherwise none.
    """

    account: Account | None
    copy: Path
    repository: str = "acme/pipeline"
    api_url: str = "http://127.0.0.1:9"

    def jobs(self, workflow: str, context: Context) -> list[str]:
        """Return the jobs that run, in an order in which they can."""
        runs: list[str] = []
        jobs = WORKFLOWS[workflow]["jobs"]
        while ready := [
            name
            for name, job in jobs.items()
            if name not in runs
            and {job.get("needs")} <= {None, *runs}
            and value(job.get("if", "True"), self.context(context))
        ]:
            runs += ready
        return runs

    def context(self, context: Context) -> dict[str, str]:
        return {"github.repository": self.repository, "github.run_id": "42", "github.token": "token"} | dict(context)

    def run(self, workflow: str, job_name: str, context: Context) -> Run:
        """Run a job's commands in order, apart from the tests, with the environment that the job gives them."""
        job, run, known = WORKFLOWS[workflow]["jobs"][job_name], Run(), self.context(context)
        has_credentials = False
        # Every job starts on a new machine. Only what took time to download is kept.
        for folder in (".terraform", ".terraform-bootstrap"):
            shutil.rmtree(self.copy / folder, ignore_errors=True)
        (self.copy / "build/function.zip").unlink(missing_ok=True)
        summary = self.copy.parent / "summary.md"
        summary.write_text("")
        for step in job["steps"]:
            if not value(step.get("if", "True"), known):
                continue
            if step.get("uses") == "$/.github/actions/setup":
                inputs = {f"inputs.{name}": text(given, known) for name, given in step.get("with", {}).items()}
                taken = credentials(inputs)
                has_credentials = taken is not None
                for name, output in SETUP["outputs"].items():
                    known[f"steps.{step.get('id')}.outputs.{name}"] = text(output["value"], inputs)
            elif "run" in step and not step["run"].startswith("./tests/run.sh"):
                declared = WORKFLOWS[workflow].get("env", {}) | job.get("env", {}) | step.get("env", {})
                environment = self.environment(summary, has_credentials=has_credentials)
                environment |= {name: text(given, known) for name, given in declared.items()}
                ended = subprocess.run(
                    ["bash", "-e", "-c", step["run"]],
                    cwd=self.copy,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                )
                run.commands.append(step["run"])
                run.output += ended.stdout
                run.status = ended.returncode
                if run.status:
                    break
        run.summary = summary.read_text()
        return run

    def environment(self, summary: Path, *, has_credentials: bool) -> dict[str, str]:
        assert self.account
        environment = self.account.environment() | {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.api_url,
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_RUN_ID": "42",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_STEP_SUMMARY": str(summary),
        }
        if not has_credentials:
            del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        return environment


def credentials(inputs: Context) -> dict[str, str] | None:
    """Return what the set-up hands to the action that takes credentials, or None when it is not called."""
    (step,) = [step for step in SETUP["runs"]["steps"] if "configure-aws-credentials" in step["uses"]]
    if not value(step["if"], inputs):
        return None
    return {name: text(given, inputs) for name, given in step["with"].items()}


TWO_SECRETS = {"secrets.AWS_ACCESS_KEY_ID": "test", "secrets.AWS_SECRET_ACCESS_KEY": "test"}


@dataclass
class Pushed:
    """A fork that only has the two secrets, and its first push to main."""

    runner: Runner
    account: Account
    future: Future[dict[str, Run]]

    @property
    def runs(self) -> dict[str, Run]:
        """The jobs that the push started, once all have ended."""
        return self.future.result()


@contextlib.contextmanager
def push(folder: Path) -> Iterator[Pushed]:
    """Fork the repository, set the two secrets and push to main; go on meanwhile, as Terraform mostly waits."""
    with empty_account() as account, ThreadPoolExecutor() as pool:
        runner = Runner(account, fresh_copy(folder))
        jobs = runner.jobs("deploy", TWO_SECRETS)
        yield Pushed(
            runner, account, pool.submit(lambda: {job: runner.run("deploy", job, TWO_SECRETS) for job in jobs})
        )
