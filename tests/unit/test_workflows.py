"""The workflows: what starts which job, which credentials it gets, and how it is run."""

import json
import re
from typing import Any

import pytest
from commands.__main__ import parser
from commands.settings import ROOT
from parts import OTHERS, PARTS

from .workflows import (
    OWN_BRANCH,
    PROD_TOO,
    SETUP,
    TWO_SECRETS,
    WORKFLOWS,
    credentials,
    jobs_that_run,
    setup_inputs,
    text,
    value,
)

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
FORK = OWN_BRANCH | {"github.event.pull_request.head.repo.full_name": "stranger/pipeline"}


def inputs_of(job: Any, context: dict[str, str]) -> dict[str, str]:
    (step,) = [step for step in job["steps"] if step.get("uses") == "$/.github/actions/setup"]
    return setup_inputs(step, context)


def commands(job: Any) -> list[str]:
    return [step["run"].removeprefix("exec ") for step in job["steps"] if "run" in step]


# What starts what


def test_a_push_to_a_fork_with_two_secrets_tests_and_then_deploys_only_dev() -> None:
    assert jobs_that_run("deploy", TWO_SECRETS) == ["test", "deploy-dev"]


def test_prod_is_deployed_after_dev_and_only_if_enabled() -> None:
    assert jobs_that_run("deploy", PROD_TOO) == ["test", "deploy-dev", "deploy-prod"]
    jobs = WORKFLOWS["deploy"]["jobs"]
    assert [jobs[name].get("needs") for name in ("test", "deploy-dev", "deploy-prod")] == [None, "test", "deploy-dev"]
    assert jobs_that_run("deploy", {"vars.DEPLOY_PROD": "false"}) == ["test", "deploy-dev"]


def test_a_pull_request_from_a_fork_is_tested_and_not_planned() -> None:
    assert jobs_that_run("pull-request", FORK | PROD_TOO) == ["test"]


def test_a_pull_request_from_the_repository_is_tested_and_planned() -> None:
    assert sorted(jobs_that_run("pull-request", OWN_BRANCH)) == ["plan", "test"]


def test_drift_is_checked_in_deployed_environments() -> None:
    assert jobs_that_run("drift", TWO_SECRETS) == ["dev"]
    assert jobs_that_run("drift", PROD_TOO) == ["dev", "prod"]


def test_workflows_start_on_these_events() -> None:
    # YAML reads the word on as true.
    assert {name: workflow[True] for name, workflow in WORKFLOWS.items()} == {
        "deploy": {"push": {"branches": ["main"]}},
        "pull-request": {"pull_request": None},
        "drift": {"schedule": [{"cron": "17 3 * * *"}], "workflow_dispatch": None},
        "tests-of-the-tests": {"schedule": [{"cron": "43 2 * * 0"}], "workflow_dispatch": None},
    }


def test_the_workflows_read_every_setting_that_is_documented() -> None:
    by_github = (ROOT / "README.md").read_text().partition("\n### By GitHub\n")[2].partition("\n### ")[0]
    assert ".github/workflows/deploy.yml" in by_github
    assert f"`{WORKFLOWS['deploy'][True]['push']['branches'][0]}`" in by_github
    for name in TWO_SECRETS:
        assert f"`{name.removeprefix('secrets.')}`" in by_github
    known = json.dumps(WORKFLOWS)
    for name in re.findall(r"`((?:AWS|DEPLOY)_[A-Z_]+)`", by_github + (ROOT / "docs/github.md").read_text()):
        assert re.search(rf"\b(?:vars|secrets)\.{name}\b", known), f"no workflow reads {name}"


# Who gets what


@each_job
def test_only_jobs_of_a_github_environment_can_get_credentials(workflow: str, name: str, job: Any) -> None:
    environment = job.get("environment", {})
    environment = environment.get("name") if isinstance(environment, dict) else environment
    assert environment == ENVIRONMENTS.get(f"{workflow}/{name}")
    # A cache is filled by jobs that run whatever a branch holds.
    assert ("inputs.cache" in inputs_of(job, PROD_TOO)) == (not environment)
    if not environment:
        assert "secrets." not in json.dumps(job)
        assert job["permissions"] == {"contents": "read"}
        assert inputs_of(job, PROD_TOO) == {"inputs.cache": "true"}


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
    assert inputs_of(job, both).get("inputs.role") == role


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
            taken = credentials(inputs_of(job, TWO_SECRETS | {"vars.AWS_REGION": "eu-central-1"}))
            assert taken
            assert taken["aws-region"] == "eu-central-1"


def test_without_role_and_keys_there_are_no_credentials() -> None:
    assert credentials({}) is None
    assert text(SETUP["outputs"]["credentials"]["value"], {}) == "false"


# How it is run


@each_job
def test_a_job_that_changes_a_state_is_never_cancelled(workflow: str, name: str, job: Any) -> None:
    touches = any(command.startswith("./deploy.sh") for command in commands(job))
    assert touches == (f"{workflow}/{name}" in ENVIRONMENTS)
    assert job["concurrency"]["group"]
    # Only what a pull request starts, which holds no lock, gives way to that of its next commit.
    assert job["concurrency"]["cancel-in-progress"] == (workflow == "pull-request")
    # Of what no change waits for, the mutants take longest: an hour on two processors.
    assert 0 < job["timeout-minutes"] <= (180 if workflow == "tests-of-the-tests" else 60)
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
