"""One local AWS for most end-to-end tests, set up by the documented command.

The first tests bring up dev; what follows works on dev, in direct mode, and on prod, in queue mode, in one state. Files
with accounts of their own run beside them.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from commands.terraform import environment
from local_aws.process import LocalAws
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from delivery import Clone, Pushed

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 480.0  # for a busy machine, and less than pytest gives a test; most take a second
# The files that work on each account, in the order in which they run; accounts are worked on side by side. Where a file
# stands without a reason, it could stand elsewhere among those of its account.
ACCOUNTS = {
    "delivery": ["test_delivery.py"],
    "deploy roles": ["test_deploy_roles.py"],
    "from scratch": ["test_from_scratch.py"],
    "going back": ["test_going_back.py"],
    "shared": [
        "test_local.py",  # first: the first run must find an empty machine; the second one leaves dev running
        "test_network.py",
        "test_operate.py",
        "test_operate_chaos.py",
        "test_operate_erase.py",
        "test_permissions.py",
        "test_pipeline.py",  # after what fails on purpose: it ends by finding the dead-letter queues empty
        "test_sent_alarms.py",  # after all that audits: an audit believes the age of messages that is made up here
        "test_two_environments.py",  # last: compares the role with the calls of all tests before, then destroys all
    ],
    "fork": [
        "test_readme.py",  # first: its own deploys run beside the push that both files wait for
        "test_workflows.py",
    ],
}
HERE = Path(__file__).parent
PLACES = {HERE / file: place for place, file in enumerate(file for files in ACCOUNTS.values() for file in files)}
RECORDS = b'[{"patient_id": "P-1", "patient_name": "Name"}]'  # a good file

# Terraform by hand, as tests and the README call it, gets the provider from where the commands get it.
by_hand = environment(os.environ)
os.environ.clear()
os.environ.update(by_hand)

# Tests that a shell started in the background ignore Ctrl-C, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for[T](what: str, check: Callable[[], T | None], seconds: float = DEADLINE_SECONDS) -> T:
    """Return the first truthy result of check; fail when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.05)
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_a_person(aws: LocalAws) -> dict[str, str]:
    """Return the environment in which a person runs ./deploy.sh local, with one difference: the port."""
    environment = os.environ | {"LOCAL_AWS_PORT": str(aws.port)}
    environment.pop("TERRAFORM_PROVIDERS", None)  # the tests' own providers
    return environment


def deploy(aws: LocalAws, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ./deploy.sh as a person would."""
    return subprocess.run(
        ["./deploy.sh", *arguments],
        cwd=ROOT,
        env=as_a_person(aws) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def processes_of(aws: LocalAws) -> list[str]:
    """Return the command lines of every process that belongs to this local AWS."""
    listing = subprocess.run(["ps", "-axww", "-o", "command="], capture_output=True, text=True, check=True).stdout
    marks = (f"127.0.0.1:{aws.port}", f".local/{aws.port}/")
    return [line for line in listing.splitlines() if any(mark in line for mark in marks)]


@dataclass
class Trap:
    """A listener that a misled client would reach instead of the local AWS."""

    port: int
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def trap() -> Iterator[Trap]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        trap = Trap(port=server.getsockname()[1])

        def count() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    trap.connections += 1
                    connection.close()

        threading.Thread(target=count, daemon=True).start()
        yield trap


@pytest.fixture(scope="session")
def misleading_environment(trap: Trap, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a caller with a real account may have set; here it all leads into the trap."""
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


@dataclass
class Pipeline:
    """One deployed environment, seen from outside."""

    aws: LocalAws
    outputs: dict[str, Any]

    def client(self, service: str, keys: tuple[str, str] = ("test", "test")) -> Any:
        environment = self.aws.environment()
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            verify=environment["AWS_CA_BUNDLE"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
        )

    def __post_init__(self) -> None:
        self.raw: str = self.outputs["raw_data_bucket_name"]
        self.processed: str = self.outputs["processed_data_bucket_name"]
        self.rejected: str = self.outputs["rejected_bucket_name"]
        self.removes_results: bool = self.outputs["stale_results"] == "remove"
        self.function: str = self.outputs["lambda_function_name"]
        self.queue: str = self.outputs["dead_letter_queue_url"]
        self.s3, self.sqs, self.logs = self.client("s3"), self.client("sqs"), self.client("logs")
        self.iam, self.functions = self.client("iam"), self.client("lambda")

    def upload(self, key: str, content: bytes) -> str:
        """Upload to the raw bucket; return the version id."""
        return str(self.s3.put_object(Bucket=self.raw, Key=key, Body=content)["VersionId"])

    def result(self, key: str) -> dict[str, Any] | None:
        """Return the processed object of a key with its metadata and records, or None when there is none."""
        try:
            found = self.s3.get_object(Bucket=self.processed, Key=key)
        except self.s3.exceptions.NoSuchKey:
            return None
        return {"metadata": found["Metadata"], "records": json.loads(found["Body"].read())}

    def await_result(self, key: str, version: str) -> list[dict[str, str]]:
        """Wait until the processed object of a key is made from that version; return its records."""

        def made_from_version() -> dict[str, Any] | None:
            result = self.result(key)
            return result if result and result["metadata"]["source-version-id"] == version else None

        records: list[dict[str, str]] = wait_for(f"the result of {key}", made_from_version)["records"]
        return records

    def verdict(self, key: str) -> dict[str, Any] | None:
        """Return the verdict on a key, or None when there is none."""
        try:
            found = self.s3.get_object(Bucket=self.rejected, Key=key)
        except self.s3.exceptions.NoSuchKey:
            return None
        verdict: dict[str, Any] = json.loads(found["Body"].read())
        assert verdict["source_version_id"] == found["Metadata"]["source-version-id"]
        return verdict

    def await_verdict(self, key: str, version: str) -> dict[str, Any]:
        """Wait until that version of a key is rejected; return the verdict."""

        def on_version() -> dict[str, Any] | None:
            verdict = self.verdict(key)
            return verdict if verdict and verdict["source_version_id"] == version else None

        return wait_for(f"the verdict on {key}", on_version)

    def depth(self, queue: str = "ingestion_queue_url") -> int:
        """Return how many messages are in a queue, or out of it and not yet processed."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.outputs[queue], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def await_failure(self) -> dict[str, Any]:
        """Wait for a message in the dead-letter queue, take it out and return it."""

        def receive() -> Any:
            return self.sqs.receive_message(QueueUrl=self.queue, WaitTimeSeconds=1).get("Messages")

        (message,) = wait_for("a message in the dead-letter queue", receive)
        self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        body: dict[str, Any] = json.loads(message["Body"])
        return body

    def log(self) -> list[str]:
        pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=self.outputs["log_group_name"])
        return [event["message"] for page in pages for event in page["events"]]


def terraform(aws: LocalAws, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Terraform by hand, as --keep's exports allow."""
    run = subprocess.run(
        ["terraform", *arguments], cwd=ROOT, env=aws.full_environment(), capture_output=True, text=True, check=False
    )
    assert not check or run.returncode == 0, run.stdout + run.stderr
    return run


def pipelines(aws: LocalAws) -> dict[str, Pipeline]:
    outputs = json.loads(terraform(aws, "output", "-json", "pipelines").stdout)
    return {name: Pipeline(aws, output) for name, output in outputs.items()}


@pytest.fixture(scope="session")
def dev(aws: LocalAws, second_run: subprocess.CompletedProcess[str]) -> Pipeline:
    """Return dev, in direct mode."""
    assert second_run.returncode == 0
    return pipelines(aws)["dev"]


BOTH = {"dev": {}, "prod": {"ingestion": "queue", "noncurrent_version_days": 90, "stale_results": "remove"}}
UNSUPPORTED = {"saved_queries": False, "request_metrics": False}  # by the local AWS, as env/local.tfvars says


def variables(aws: LocalAws, environments: Mapping[str, object]) -> str:
    """Return the option that gives Terraform these environments."""
    path = aws.folder / "environments.tfvars.json"
    path.write_text(json.dumps(UNSUPPORTED | {"environments": environments}))
    return f"-var-file={path}"


def changes(aws: LocalAws, *arguments: str) -> tuple[Path, dict[str, list[str]]]:
    """Plan; return the saved plan and what it does to each resource that it touches."""
    plan = aws.folder / "test.tfplan"
    terraform(aws, "plan", "-input=false", f"-out={plan}", *arguments)
    planned = json.loads(terraform(aws, "show", "-json", str(plan)).stdout).get("resource_changes", [])
    actions = {change["address"]: change["change"]["actions"] for change in planned}
    return plan, {address: action for address, action in actions.items() if action not in (["no-op"], ["read"])}


def is_false_drift(address: str) -> bool:
    """Return whether the local AWS leaves out, when asked, what it was told of this resource."""
    return ".aws_cloudwatch_metric_alarm." in address


@pytest.fixture(scope="session")
def both(dev: Pipeline, aws: LocalAws) -> dict[str, Pipeline]:
    """Add prod, in queue mode, to the state that holds dev."""
    plan, touched = changes(aws, variables(aws, BOTH))
    touched = {address: action for address, action in touched.items() if not is_false_drift(address)}
    assert touched
    assert [address for address in touched if not address.startswith('module.pipeline["prod"]')] == []
    terraform(aws, "apply", "-input=false", str(plan))
    assert dev.outputs == pipelines(aws)["dev"].outputs
    return pipelines(aws)


@pytest.fixture(params=["dev", "prod"], ids=["direct", "queue"])
def pipeline(both: dict[str, Pipeline], request: pytest.FixtureRequest) -> Pipeline:
    """Return each environment in turn, and so each mode."""
    return both[str(request.param)]


@pytest.fixture
def quick_redelivery(pipeline: Pipeline) -> Iterator[None]:
    """Let a failed message come back after a second, not after six times the function's timeout.

    On a busy machine it comes back, and is moved to the dead-letter queue, while slow attempts are still at work: what
    these log is there later than the message.
    """
    url, name = pipeline.outputs["ingestion_queue_url"], "VisibilityTimeout"
    before = pipeline.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]
    pipeline.sqs.set_queue_attributes(QueueUrl=url, Attributes={name: "1"})
    yield
    pipeline.sqs.set_queue_attributes(QueueUrl=url, Attributes={name: before})


@pytest.fixture(scope="session")
def people(both: dict[str, Pipeline], aws: LocalAws) -> None:
    """Make the policies for people."""
    assert both
    run = deploy(aws, "bootstrap", "local", **aws.environment())
    assert run.returncode == 0, run.stdout + run.stderr


def policy_for(pipeline: Pipeline, person: str) -> str:
    """Return the ARN of the policy for an uploader, a reader or an eraser."""
    return f"arn:aws:iam::000000000000:policy/{pipeline.outputs['dashboard_name']}-{person}"


@contextlib.contextmanager
def user(
    pipeline: Pipeline, action: str = "sts:GetCallerIdentity", called: str = "somebody"
) -> Iterator[dict[str, str]]:
    """Make a user, who may do what everybody may, or an action; yield the environment of a shell of theirs."""
    name, policy = {"UserName": called}, {"PolicyName": "action"}
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    pipeline.iam.create_user(**name)
    pipeline.iam.put_user_policy(**name, **policy, PolicyDocument=document)
    key = pipeline.iam.create_access_key(**name)["AccessKey"]
    try:
        yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    finally:
        pipeline.iam.delete_access_key(**name, AccessKeyId=key["AccessKeyId"])
        pipeline.iam.delete_user_policy(**name, **policy)
        pipeline.iam.delete_user(**name)


@contextlib.contextmanager
def holder(pipeline: Pipeline, person: str) -> Iterator[dict[str, str]]:
    """Make a user with the policy for such a person besides; yield the environment of a shell of theirs."""
    attachment = {"UserName": person, "PolicyArn": policy_for(pipeline, person)}
    with user(pipeline, called=person) as environment:
        pipeline.iam.attach_user_policy(**attachment)
        try:
            yield environment
        finally:
            pipeline.iam.detach_user_policy(**attachment)


@contextlib.contextmanager
def without(pipeline: Pipeline, action: str) -> Iterator[None]:
    """Take an action away from the execution role."""
    role, name = pipeline.function, "pipeline"
    policy = pipeline.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    smaller = json.loads(json.dumps(policy))
    for statement in smaller["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [a for a in actions if a != action]
    assert smaller != policy, f"the role has no {action}"
    smaller["Statement"] = [s for s in smaller["Statement"] if s["Action"]]
    pipeline.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(smaller))
    try:
        yield
    finally:
        pipeline.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))


@contextlib.contextmanager
def inbox(pipeline: Pipeline, topic: str) -> Iterator[Callable[[], list[Any]]]:
    """Subscribe a queue to a topic, as an e-mail address would be; yield what takes the messages that are there."""
    url = pipeline.sqs.create_queue(QueueName=f"inbox-of-{topic.rpartition(':')[2]}")["QueueUrl"]
    arn = pipeline.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    statement |= {"Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    pipeline.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sns = pipeline.client("sns")
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)

    def take() -> list[Any]:
        messages = pipeline.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in messages.get("Messages", []):
            pipeline.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(json.loads(message["Body"])["Message"]) for message in messages.get("Messages", [])]

    yield take
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    pipeline.sqs.delete_queue(QueueUrl=url)


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Pushed]":
    """Return a fork of the repository after its first push to main, in an account of its own."""
    from delivery import push  # here, as it imports from this file

    with push(tmp_path_factory.mktemp("fork")) as pushed:
        yield pushed


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Clone]":
    """Return a fresh clone, in an account of its own that is empty."""
    from delivery import Clone, empty_account  # here, as it imports from this file

    with empty_account() as account:
        yield Clone(tmp_path_factory.mktemp("clone"), account)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into the order of ACCOUNTS, which has to know every file."""
    if differ := set(HERE.glob("test_*.py")) ^ PLACES.keys():
        names = ", ".join(sorted(path.name for path in differ))
        raise pytest.UsageError(f"ACCOUNTS in tests/e2e/conftest.py and the files beside it differ in: {names}")
    items.sort(key=lambda item: PLACES.get(item.path, -1))  # those of other folders come first


class OneAccountOneProcess(LoadScopeScheduling):  # type: ignore[misc] # has no types
    """Gives pytest-xdist's processes whole accounts, so that what works on one stays together and in order."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0]).name
        return next(account for account, files in ACCOUNTS.items() if file in files)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneAccountOneProcess:
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
