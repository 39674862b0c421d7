"""The workflows: which job gets which credentials, in which order, and every command run on the local AWS."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from accounts import PATIENTS, changes, fresh_copy
from commands.__main__ import parser
from github_expressions import text, value
from github_runner import SETUP, TWO_SECRETS, WORKFLOWS, Pushed, Run, Runner, credentials
from parts import OTHERS, PARTS

from tests.unit.github import GitHub, serving

JOBS = [(workflow, name, job) for workflow, content in WORKFLOWS.items() for name, job in content["jobs"].items()]
NAMES = [f"{workflow}/{name}" for workflow, name, _ in JOBS]
each_job = pytest.mark.parametrize(("workflow", "name", "job"), JOBS, ids=NAMES)
# Every job that comes near AWS, and the GitHub environment whose secrets, variables and OIDC subject it has.
ENVIRONMENTS = {
    "deploy/deploy-dev": "dev",
    "deploy/deploy-prod": "prod",
    "pull-request/plan": "dev-plan",
    "drift/dev": "dev-plan",
    "drift/prod": "prod-plan",
}
PROD_TOO = TWO_SECRETS | {"vars.DEPLOY_PROD": "true"}
OWN_BRANCH = {"github.event.pull_request.head.repo.full_name": "acme/pipeline"}
FORK = {"github.event.pull_request.head.repo.full_name": "stranger/pipeline"}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A runner that is only asked what it would do."""
    return Runner(None, tmp_path)


def setup_inputs(job: Any, context: dict[str, str]) -> dict[str, str]:
    (step,) = [step for step in job["steps"] if step.get("uses") == "$/.github/actions/setup"]
    return {f"inputs.{name}": text(given, context) for name, given in step.get("with", {}).items()}


def commands(job: Any) -> list[str]:
    return [step["run"].removeprefix("exec ") for step in job["steps"] if "run" in step]


# What starts what


def test_a_push_to_a_fork_with_two_secrets_tests_and_then_deploys_only_dev(runner: Runner) -> None:
    assert runner.jobs("deploy", TWO_SECRETS) == ["test", "deploy-dev"]


def test_prod_is_deployed_after_dev_and_only_if_enabled(runner: Runner) -> None:
    assert runner.jobs("deploy", PROD_TOO) == ["test", "deploy-dev", "deploy-prod"]
    jobs = WORKFLOWS["deploy"]["jobs"]
    assert [jobs[name].get("needs") for name in ("test", "deploy-dev", "deploy-prod")] == [None, "test", "deploy-dev"]
    assert runner.jobs("deploy", {"vars.DEPLOY_PROD": "false"}) == ["test", "deploy-dev"]


def test_a_pull_request_from_a_fork_is_tested_and_not_planned(runner: Runner) -> None:
    assert runner.jobs("pull-request", FORK | PROD_TOO) == ["test"]


def test_a_pull_request_from_the_repository_is_tested_and_planned(runner: Runner) -> None:
    assert sorted(runner.jobs("pull-request", OWN_BRANCH)) == ["plan", "test"]


def test_drift_is_checked_in_deployed_environments(runner: Runner) -> None:
    assert runner.jobs("drift", TWO_SECRETS) == ["dev"]
    assert runner.jobs("drift", PROD_TOO) == ["dev", "prod"]


def test_workflows_start_on_these_events() -> None:
    # YAML reads the word on as true.
    assert {name: workflow[True] for name, workflow in WORKFLOWS.items()} == {
        "deploy": {"push": {"branches": ["main"]}},
        "pull-request": {"pull_request": None},
        "drift": {"schedule": [{"cron": "17 3 * * *"}], "workflow_dispatch": None},
        "tests-of-the-tests": {"schedule": [{"cron": "43 2 * * 0"}], "workflow_dispatch": None},
    }


# Who gets what


@each_job
def test_only_jobs_of_a_github_environment_can_get_credentials(workflow: str, name: str, job: Any) -> None:
    environment = job.get("environment", {})
    environment = environment.get("name") if isinstance(environment, dict) else environment
    assert environment == ENVIRONMENTS.get(f"{workflow}/{name}")
    # A cache is filled by jobs that run whatever a branch holds.
    assert ("inputs.cache" in setup_inputs(job, PROD_TOO)) == (not environment)
    if not environment:
        assert "secrets." not in json.dumps(job)
        assert job["permissions"] == {"contents": "read"}
        assert setup_inputs(job, PROD_TOO) == {"inputs.cache": "true"}


@each_job
def test_jobs_run_whole_parts_of_the_tests(workflow: str, name: str, job: Any) -> None:
    if workflow == "tests-of-the-tests":
        assert commands(job) == [f"./tests/run.sh {name}"]
    elif name == "test":
        assert commands(job) == ['./tests/run.sh "$PART"']
        assert job["steps"][-1]["env"] == {"PART": "${{ matrix.part }}"}
        assert job["strategy"]["matrix"] == {"part": [*PARTS]}


@each_job
def test_only_a_deploy_takes_the_apply_role(workflow: str, name: str, job: Any) -> None:
    both = {"vars.AWS_PLAN_ROLE_ARN": "plan", "vars.AWS_APPLY_ROLE_ARN": "apply"}
    role = {"deploy": "apply"}.get(workflow, "plan") if f"{workflow}/{name}" in ENVIRONMENTS else None
    assert setup_inputs(job, both).get("inputs.role") == role


@each_job
def test_a_job_may_do_no_more_than_it_needs(workflow: str, name: str, job: Any) -> None:
    needed = {"contents": "read"}
    if f"{workflow}/{name}" in ENVIRONMENTS:
        needed["id-token"] = "write"
    if workflow == "drift":
        needed["issues"] = "write"
    assert job["permissions"] == needed
    assert WORKFLOWS[workflow]["permissions"] == {}


KEYS = {"inputs.access-key-id": "key", "inputs.secret-access-key": "secret"}


@pytest.mark.parametrize(
    ("inputs", "role", "key", "secret"),
    [
        (KEYS, "", "key", "secret"),
        ({"inputs.role": "role"}, "role", "", ""),
        (KEYS | {"inputs.role": "role"}, "role", "", ""),
    ],
    ids=["keys", "role", "both"],
)
def test_a_role_takes_precedence_over_keys(inputs: dict[str, str], role: str, key: str, secret: str) -> None:
    assert credentials(inputs) == {
        "aws-region": "us-east-1",
        "role-to-assume": role,
        "role-session-name": "github-",
        "aws-access-key-id": key,
        "aws-secret-access-key": secret,
    }
    assert text(SETUP["outputs"]["credentials"]["value"], inputs) == "true"


def test_the_region_is_a_variable() -> None:
    for _, _, job in JOBS:
        if job.get("environment"):
            taken = credentials(setup_inputs(job, TWO_SECRETS | {"vars.AWS_REGION": "eu-central-1"}))
            assert taken
            assert taken["aws-region"] == "eu-central-1"


def test_without_role_and_keys_there_are_no_credentials() -> None:
    assert credentials({}) is None
    assert text(SETUP["outputs"]["credentials"]["value"], {}) == "false"


@pytest.mark.parametrize(("workflow", "job"), [("pull-request", "plan"), ("drift", "dev"), ("drift", "prod")])
def test_a_check_without_credentials_does_nothing(workflow: str, job: str, runner: Runner) -> None:
    run = runner.run(workflow, job, PROD_TOO | dict.fromkeys(TWO_SECRETS, ""))
    assert run.commands == []


# How it is run


@each_job
def test_a_job_that_changes_a_state_is_never_cancelled(workflow: str, name: str, job: Any) -> None:
    touches = any(command.startswith("./deploy.sh") for command in commands(job))
    assert touches == (f"{workflow}/{name}" in ENVIRONMENTS)
    assert job["concurrency"]["group"]
    # Only what a pull request starts, which holds no lock, gives way to that of its next commit.
    assert job["concurrency"]["cancel-in-progress"] == (workflow == "pull-request")
    assert 0 < job["timeout-minutes"] <= 60
    # Of a cancelled job only the step's first process is told, which has to be what can stop in good order.
    deploys = [step["run"] for step in job["steps"] if "deploy.sh deploy" in step.get("run", "")]
    assert all(command.startswith("exec ./deploy.sh ") for command in deploys)


def test_concurrency_groups_separate_independent_jobs() -> None:
    one, other = {"github.event.pull_request.number": "1"}, {"github.event.pull_request.number": "2"}
    groups = [text(job["concurrency"]["group"], one) for _, _, job in JOBS]
    assert len(set(groups)) == len(groups)
    for name, job in WORKFLOWS["pull-request"]["jobs"].items():
        assert text(job["concurrency"]["group"], one) != text(job["concurrency"]["group"], other), name
    for job in WORKFLOWS["deploy"]["jobs"].values():
        assert ("-${{ matrix.part }}" in job["concurrency"]["group"]) == ("strategy" in job)
        assert "${{" not in job["concurrency"]["group"].removesuffix("${{ matrix.part }}")


@each_job
def test_every_command_is_one_that_people_use(workflow: str, name: str, job: Any) -> None:
    known = {"./deploy.sh": [*parser().verbs], "./tests/run.sh": [*PARTS, *OTHERS, '"$PART"']}
    for command in commands(job):
        assert "${{" not in command
        tool, *arguments = command.split()
        assert not arguments or arguments[0] in known[tool]


def test_expressions_are_evaluated() -> None:
    context = {"vars.A": "x", "inputs.a-b": ""}
    assert value("vars.A == 'x' && inputs.a-b == '' && vars.MISSING == ''", context)
    assert text("${{ vars.MISSING || 'vars.A' }}-${{ vars.A }}-${{ vars.A != 'x' }}", context) == "vars.A-x-false"


# On the local AWS, one after the other


@pytest.fixture(scope="module")
def github() -> Iterator[GitHub]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def prod(pushed: Pushed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Run]]:
    """Deploy prod where it is enabled, while other tests work on dev: Terraform mostly waits."""
    assert pushed.runs["deploy-dev"].status == 0, pushed.runs["deploy-dev"].output
    runner = Runner(pushed.account, fresh_copy(tmp_path_factory.mktemp("prod")))
    with ThreadPoolExecutor() as pool:
        yield pool.submit(runner.run, "deploy", "deploy-prod", PROD_TOO)


def test_a_push_deploys_dev(pushed: Pushed) -> None:
    run = pushed.runs["deploy-dev"]
    assert run.commands == ["exec ./deploy.sh deploy dev"]
    assert run.status == 0, run.output
    ((_, processed),) = pushed.account.pipelines()
    assert pushed.account.process_sample() == {processed: PATIENTS}
    assert processed in run.output
    assert re.search(r"Plan for dev: \d+ to add\.", run.summary)


def test_a_pull_request_shows_its_plan(pushed: Pushed, prod: Future[Run]) -> None:
    run = pushed.runner.run("pull-request", "plan", TWO_SECRETS | OWN_BRANCH)
    assert run.commands == ["./deploy.sh plan dev"]
    assert run.status == 0, run.output
    assert "Plan for dev: " in run.summary


def test_drift_opens_one_issue(pushed: Pushed, prod: Future[Run], github: GitHub) -> None:
    functions = pushed.account.client("lambda")
    functions.update_function_configuration(FunctionName="ikerian-data-pipeline-data-processor", MemorySize=512)
    pushed.runner.api_url = github.url
    for _ in range(2):
        run = pushed.runner.run("drift", "dev", TWO_SECRETS)
        assert run.commands == ["./deploy.sh drift dev --issue"]
        assert run.status == 1, run.output
        assert github.open() == [1], run.output
        assert "aws_lambda_function" in github.issues[0]["body"]
        assert "aws_lambda_function" in run.summary


def test_prod_is_deployed_if_enabled(pushed: Pushed, prod: Future[Run]) -> None:
    run = prod.result()
    assert run.commands == ["exec ./deploy.sh deploy prod"]
    assert run.status == 0, run.output
    assert sorted(pushed.account.process_sample().values()) == [PATIENTS, PATIENTS]


def test_drift_of_prod_has_an_issue_of_its_own(pushed: Pushed, prod: Future[Run], github: GitHub) -> None:
    assert prod.result().status == 0
    pushed.runner.api_url = github.url
    run = pushed.runner.run("drift", "prod", PROD_TOO)
    assert run.commands == ["./deploy.sh drift prod --issue"]
    assert run.status == 1, run.output  # the local AWS leaves things out, which looks like drift
    assert changes(run.output) == []
    assert [issue["title"] for issue in github.issues][-1:] == ["Drift in prod"], run.output
