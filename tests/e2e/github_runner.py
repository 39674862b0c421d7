"""GitHub's runner, as far as the workflows of this repository need it, and a push that they run for."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from accounts import Account, empty_account, fresh_copy

from tests.unit.workflows import (
    REPOSITORY,
    SETUP,
    TWO_SECRETS,
    WORKFLOWS,
    Context,
    credentials,
    jobs_that_run,
    setup_inputs,
    text,
    value,
)


@dataclass
class Run:
    """A run of one job: the environment of each command, and how it ended."""

    commands: list[str] = field(default_factory=list)
    output: str = ""
    summary: str = ""
    status: int = 0


@dataclass
class Runner:
    """GitHub's runner, as far as these workflows need it.

    The actions from the marketplace are not run: this machine has Python and Terraform, and where the workflow takes
    credentials the commands get those of the local AWS, otherwise none.
    """

    account: Account | None
    copy: Path
    repository: str = REPOSITORY
    api_url: str = "http://127.0.0.1:9"

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
                inputs = setup_inputs(step, known)
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
    """Fork the repository, set the two secrets and push to main. The jobs run in the background."""
    with empty_account() as account, ThreadPoolExecutor() as pool:
        runner = Runner(account, fresh_copy(folder))
        jobs = jobs_that_run("deploy", TWO_SECRETS)
        yield Pushed(
            runner, account, pool.submit(lambda: {job: runner.run("deploy", job, TWO_SECRETS) for job in jobs})
        )
