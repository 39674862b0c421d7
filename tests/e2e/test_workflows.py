"""The workflows: every command of their jobs, run on the local AWS with the credentials that the job gives it."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from accounts import PATIENTS, changes, fresh_copy
from github_runner import Pushed, Run, Runner

from tests.unit.github import GitHub, serving
from tests.unit.workflows import OWN_BRANCH, PROD_TOO, TWO_SECRETS


@pytest.mark.parametrize(("workflow", "job"), [("pull-request", "plan"), ("drift", "dev"), ("drift", "prod")])
def test_a_check_without_credentials_does_nothing(workflow: str, job: str, tmp_path: Path) -> None:
    run = Runner(None, tmp_path).run(workflow, job, PROD_TOO | dict.fromkeys(TWO_SECRETS, ""))
    assert run.commands == []


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
