"""One local AWS for most end-to-end tests, set up by the documented command.

The first tests bring up dev; those that follow work on dev, in direct mode, and on prod, in queue mode, in one state.
Files with accounts of their own run beside them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from accounts import Clone, empty_account
from by_hand import BOTH, changes, is_false_drift, pipelines, terraform, variables
from commands.terraform import environment
from github_runner import Pushed, push
from local_aws.process import LocalAws
from pipeline import Pipeline
from shared_aws import deploy, free_port, processes_of
from trap import Trap, listening
from xdist.scheduler import LoadScopeScheduling

# The files that work on each account, in the order in which they run. Where a file stands without a reason, it could
# stand elsewhere among those of its account.
ACCOUNTS = {
    "shared": [
        "test_local.py",  # first: the first run must find an empty machine; the second one leaves dev running
        "test_verbs.py",
        "test_runbook.py",
        "test_network.py",
        "test_chaos.py",
        "test_erase.py",
        "test_permissions.py",
        "test_pipeline.py",  # after what fails on purpose: it ends by finding the dead-letter queues empty
        "test_sent_alarms.py",  # after all that audits: an audit believes the age of messages that is made up here
        "test_two_environments.py",  # last: compares the role with the calls of all tests before, then destroys all
    ],
    "delivery": ["test_delivery.py"],
    "going back": ["test_going_back.py"],
    "fork": [
        "test_readme.py",  # first: its own deploys run beside the push that both files wait for
        "test_workflows.py",
    ],
    "deploy roles": ["test_deploy_roles.py"],
    "from scratch": ["test_from_scratch.py"],
}
# The shared account takes longest. A second process, if there is one, brings up the same again and runs these on it.
ON_A_SECOND_SHARED = {"test_runbook.py", "test_network.py", "test_chaos.py", "test_erase.py"}
# The accounts that a process turns to once it is done with another one, so that all end at about the same time. Left to
# itself, pytest-xdist gives a process its next account before it knows how long the last tests on this one take.
AFTER = {"from scratch": "going back", "deploy roles": "fork"}
HERE = Path(__file__).parent
PLACES = {HERE / file: place for place, file in enumerate(file for files in ACCOUNTS.values() for file in files)}

# Terraform by hand, as tests and the README call it, gets the provider from where the commands get it.
like_commands = environment(os.environ)
os.environ.clear()
os.environ.update(like_commands)

# Tests that a shell started in the background ignore Ctrl-C, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def trap() -> Iterator[Trap]:
    with listening() as trap:
        yield trap


@pytest.fixture(scope="session")
def misleading_environment(trap: Trap, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that a caller with a real account may have set; all of them lead into the trap."""
    config = tmp_path_factory.mktemp("aws") / "config"
    config.write_text(
        f"[profile prod]\nendpoint_url = {trap.url}\naws_access_key_id = AKIAREAL\naws_secret_access_key = real\n"
    )
    return {
        "AWS_PROFILE": "prod",
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_ENDPOINT_URL": trap.url,
        "AWS_ENDPOINT_URL_S3": trap.url,
        "AWS_ENDPOINT_URL_STS": trap.url,
        "AWS_ENDPOINT_URL_LAMBDA": trap.url,
        "AWS_REGION": "eu-west-1",
        "TF_VAR_project_name": "somebody-elses",
        "TF_WORKSPACE": "prod",
        "TF_CLI_ARGS_plan": "-var=region=eu-west-1",
    }


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    aws = LocalAws(port=free_port())
    yield aws
    aws.stop()
    shutil.rmtree(aws.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def first_run(aws: LocalAws, misleading_environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ./deploy.sh local on an empty machine, with an environment that would lead elsewhere."""
    return deploy(aws, "local", **misleading_environment)


@pytest.fixture(scope="session")
def processes_after_first_run(aws: LocalAws, first_run: subprocess.CompletedProcess[str]) -> list[str]:
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    return processes_of(aws)


@pytest.fixture(scope="session")
def second_run(aws: LocalAws, processes_after_first_run: list[str]) -> subprocess.CompletedProcess[str]:
    """Run ./deploy.sh local --keep on what the first run left. All other tests use what this one keeps running."""
    assert processes_after_first_run == []
    run = deploy(aws, "local", "--keep")
    assert run.returncode == 0, run.stdout + run.stderr
    return run


@pytest.fixture(scope="session")
def dev(aws: LocalAws, second_run: subprocess.CompletedProcess[str]) -> Pipeline:
    """Return dev, in direct mode."""
    assert second_run.returncode == 0
    return pipelines(aws)["dev"]


@pytest.fixture(scope="session")
def both(dev: Pipeline, aws: LocalAws) -> dict[str, Pipeline]:
    """Add prod, in queue mode, to the state that holds dev. Meanwhile, make the policies for people."""
    with ThreadPoolExecutor() as pool:
        people = pool.submit(deploy, aws, "bootstrap", "local", **aws.environment())
        plan, touched = changes(aws, variables(aws, BOTH))
        touched = {address: action for address, action in touched.items() if not is_false_drift(address)}
        assert touched
        assert [address for address in touched if not address.startswith('module.pipeline["prod"]')] == []
        terraform(aws, "apply", "-input=false", str(plan))
    assert people.result().returncode == 0, people.result().stdout + people.result().stderr
    assert dev.outputs == pipelines(aws)["dev"].outputs
    return pipelines(aws)


@pytest.fixture(params=["dev", "prod"], ids=["direct", "queue"])
def pipeline(both: dict[str, Pipeline], request: pytest.FixtureRequest) -> Pipeline:
    """Return each environment in turn, and so each mode."""
    return both[str(request.param)]


@pytest.fixture
def quick_redelivery(pipeline: Pipeline) -> Iterator[None]:
    """Let a failed message come back after a second, not after six times the function's timeout.

    On a busy machine it comes back, and is moved to the dead-letter queue, while slow attempts are still running: their
    log lines arrive after the message.
    """
    url, name = pipeline.outputs["ingestion_queue_url"], "VisibilityTimeout"
    before = pipeline.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]
    pipeline.sqs.set_queue_attributes(QueueUrl=url, Attributes={name: "1"})
    yield
    pipeline.sqs.set_queue_attributes(QueueUrl=url, Attributes={name: before})


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    """Return a fork of the repository after its first push to main, in an account of its own."""
    with push(tmp_path_factory.mktemp("fork")) as pushed:
        yield pushed


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """Return a fresh clone, in an account of its own that is empty."""
    with empty_account() as account:
        yield Clone(tmp_path_factory.mktemp("clone"), account)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into the order of ACCOUNTS, which must list every file."""
    if differ := set(HERE.glob("test_*.py")) ^ PLACES.keys():
        names = ", ".join(sorted(path.name for path in differ))
        raise pytest.UsageError(f"ACCOUNTS in tests/e2e/conftest.py and the files beside it differ in: {names}")
    items.sort(key=lambda item: PLACES.get(item.path, -1))  # those of other folders come first


class OneAccountOneProcess(LoadScopeScheduling):  # type: ignore[misc] # has no types
    """Gives pytest-xdist's processes whole accounts, so that what works on one stays together and in order."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0]).name
        account = next(account for account, files in ACCOUNTS.items() if file in files)
        if file in ON_A_SECOND_SHARED and self.numnodes > 1:
            account = "second shared"
        return AFTER.get(account, account)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return a process for each account that is not worked on after another one, and one for the second shared."""
    return len(ACCOUNTS) - len(AFTER) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneAccountOneProcess:
    config.option.loadscopereorder = False  # else the first processes would get what has most tests
    return OneAccountOneProcess(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.line(f"{name}: {value}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a failing test's function log and the end of the emulator's."""
    report = yield
    if report.failed and "aws" in getattr(item, "funcargs", {}):
        aws: LocalAws = item.funcargs["aws"]  # type: ignore[attr-defined]
        for value in item.funcargs.values():  # type: ignore[attr-defined]
            if isinstance(value, Pipeline):
                with contextlib.suppress(Exception):
                    report.sections.append((f"log of {value.function}", "\n".join(value.log()[-40:])))
        if aws.log.exists():
            tail = aws.log.read_text(errors="replace").splitlines()[-60:]
            report.sections.append(("log of the local AWS", "\n".join(tail)))
    return report
