"""The verbs that change something: what they ask and refuse. A double stands in for Terraform."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest
from commands import aws, build, deploy, smoke, state
from commands import plan as plan_module
from commands import terraform as terraform_module
from commands.aws import Account
from commands.deploy import Run
from commands.environment import Environment
from commands.terminal import Refused
from commands.terraform import Terraform

from tests.unit.checkout import make

ACCOUNT = "123456789012"
SETTINGS: dict[str, Any] = {"environments": {"dev": {"memory_mb": 512}}}
PLANNED = {"region": "us-east-1", "project_name": "ikerian-data-pipeline", "environments": {"dev": {"memory_mb": 512}}}
BUCKET = {"address": "aws_s3_bucket.this", "type": "aws_s3_bucket", "change": {"actions": ["delete", "create"]}}


class Double(Terraform):
    """Records its calls, and plans what the test says."""

    done: list[str] = []  # noqa: RUF012 - of the test
    planned: dict[str, Any] = {}  # noqa: RUF012

    def _run(self, *arguments: str) -> int:
        self.done.append(f"{self.target} {arguments[0]}")
        if arguments[0] == "plan":
            self.plan_file.parent.mkdir(exist_ok=True)
            self.plan_file.touch()
        return 0

    def saved_plan(self) -> dict[str, Any]:
        return self.planned


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The calls of Terraform for dev, whose state bucket exists and is bootstrapped."""
    monkeypatch.setenv("TF_DATA_DIR", str(tmp_path / ".terraform"))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(deploy, "Terraform", Double)
    monkeypatch.setattr(deploy, "check_version", lambda: None)
    monkeypatch.setattr(build, "build", lambda *_, **__: Double.done.append("build"))
    monkeypatch.setattr(terraform_module, "ROOT", tmp_path)
    monkeypatch.setattr(smoke, "test", lambda pipeline: Double.done.append(f"smoke test of {pipeline.name}"))
    monkeypatch.setattr(Double, "done", [])
    monkeypatch.setattr(deploy, "_locks", [])
    plan(monkeypatch)
    with moto.mock_aws():
        account = Account(boto3.Session(region_name="us-east-1"), ACCOUNT)
        monkeypatch.setattr(aws, "connect", lambda _: account)
        state.make_bucket(Environment("dev", SETTINGS), account)
        monkeypatch.setattr(state, "is_bootstrapped", lambda *_: True)
        monkeypatch.setattr(state, "pipelines", lambda *_: [])
        yield Double.done


def plan(monkeypatch: pytest.MonkeyPatch, *changes: dict[str, Any], **variables: Any) -> None:
    given = {name: {"value": value} for name, value in (PLANNED | variables).items()}
    monkeypatch.setattr(Double, "planned", {"resource_changes": changes, "variables": given})


def options(**more: Any) -> argparse.Namespace:
    flags = {"allow_data_loss": False, "yes": False, "issue": False, "bootstrap": False, "id": "ID"}
    return argparse.Namespace(**{"verb": "deploy", "environment": Environment("dev", SETTINGS)} | flags | more)


def refusal(verb: Any, /, **more: Any) -> str:
    with pytest.raises(Refused) as refused:
        verb(options(**more))
    return str(refused.value)


def type_at_a_terminal(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdin, "readline", lambda: f"{text}\n", raising=False)


def test_a_deploy_builds_plans_and_applies(done: list[str]) -> None:
    assert deploy.deploy(options()) == 0
    assert done == ["build", "dev init", "dev plan", "dev apply"]


@pytest.mark.parametrize("verb", ["deploy", "apply"])
def test_a_network_for_a_function_that_exists_is_applied_before_the_rest(
    done: list[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    module = 'module.pipeline["dev"].module'
    failed = {
        "address": {"kind": "check", "name": plan_module.JOINS_NETWORK},
        "status": "fail",
        "instances": [{"address": {"module": f"{module}.lambda"}, "status": "fail"}],
    }
    kinds: list[dict[str, Any]] = [{"checks": [failed], "complete": True}, {"complete": False}, {"complete": True}]
    plans = iter(kinds)
    variables = Double.planned["variables"]

    class OneAfterTheOther(Double):
        def _run(self, *arguments: str) -> int:
            if arguments[0] == "plan":
                monkeypatch.setattr(Double, "planned", next(plans) | {"variables": variables})
            code = super()._run(*arguments)
            self.done[-1] += "".join(f" {word}" for word in arguments if word.startswith("-target"))
            return code

    monkeypatch.setattr(deploy, "Terraform", OneAfterTheOther)
    if verb == "apply":
        deploy.plan_environment(options())
    assert getattr(deploy, verb)(options()) == 0
    assert [line for line in done if "init" not in line] == [
        "build", "dev plan", f"dev plan -target={module}.network", "dev apply", "dev plan", "dev apply",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"region": "eu-west-1"}, "region"),
        ({"project_name": "other", "region": "eu-west-1"}, "project_name and region"),
        ({"environments": {"dev": {"memory_mb": 1024}}}, "environments"),
        ({"environments": {"dev": {"memory_mb": 512}, "prod": {}}}, "environments"),
    ],
)
def test_a_plan_of_other_settings_than_the_resolved_ones_is_not_applied(
    done: list[str], monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any], names: str
) -> None:
    plan(monkeypatch, **variables)
    for verb in (deploy.deploy, deploy.plan_environment, deploy.drift):
        assert refusal(verb) == (
            f"the plan for dev has values of {names} that differ from env/; nothing was changed. "
            "Plan again: ./deploy.sh deploy dev"
        )
    assert "dev apply" not in done
    assert not Run.on(options()).terraform().plan_file.exists()


def test_a_saved_plan_is_applied_unless_it_is_about_other_environments(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy.plan_environment(options())
    edited = Environment("dev", {"environments": {"dev": {"memory_mb": 768}}})
    assert deploy.apply(options(environment=edited)) == 0
    assert done[-1] == "dev apply"
    deploy.plan_environment(options())
    moved = Environment("dev", {"environments": {"test": {}}})
    assert refusal(deploy.apply, environment=moved).startswith(
        "the plan for dev has values of environments that differ from env/; "
    )
    assert refusal(deploy.apply) == "there is no saved plan for dev. Make one: ./deploy.sh plan dev"


REFUSED = (
    "this plan deletes data, so nothing was changed. If this is intended, run: ./deploy.sh deploy dev --allow-data-loss"
)


def test_a_plan_that_deletes_data_is_applied_only_with_consent(
    done: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(monkeypatch, BUCKET)
    assert refusal(deploy.deploy) == REFUSED
    assert capsys.readouterr().err == "DELETES DATA: aws_s3_bucket.this\n"
    type_at_a_terminal(monkeypatch, "prod")
    assert refusal(deploy.deploy) == "the name does not match; nothing was changed."
    assert "dev apply" not in done
    type_at_a_terminal(monkeypatch, "dev")
    deploy.deploy(options())
    assert done.pop() == "dev apply"
    monkeypatch.setenv("CI", "true")
    assert refusal(deploy.deploy) == REFUSED
    deploy.deploy(options(allow_data_loss=True))
    assert done.pop() == "dev apply"


def test_drift_is_recognized_by_exit_code_not_by_text(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert deploy.drift(options()) == 0
    plan(monkeypatch, {"address": "a.b", "type": "a", "change": {"actions": ["update"]}})
    assert refusal(deploy.drift, verb="drift") == (
        "AWS has drifted from the code: the differences are above. To restore it: ./deploy.sh deploy dev"
    )
    assert done.count("dev plan") == 2
    assert "dev apply" not in done


def test_the_remedy_names_the_verb_that_failed(done: list[str]) -> None:
    terraform = {verb: Run.on(options(verb=verb)).terraform() for verb in ("deploy", "plan", "apply", "destroy")}
    assert {verb: (each.retry, each.replan) for verb, each in terraform.items()} == {
        "deploy": ("./deploy.sh deploy dev", "./deploy.sh deploy dev"),
        "plan": ("./deploy.sh plan dev", "./deploy.sh plan dev"),
        "apply": ("./deploy.sh apply dev", "./deploy.sh plan dev"),
        "destroy": ("./deploy.sh destroy dev", "./deploy.sh destroy dev"),
    }


def test_a_saved_plan_about_another_state_is_not_applied(done: list[str]) -> None:
    deploy.plan_environment(options())
    works = Run.on(options()).terraform()
    works.state = "s3://other/dev/terraform.tfstate"
    with pytest.raises(Refused) as refused:
        works.plan_of_this_state()
    assert str(refused.value) == (
        "the saved plan was not made for the state s3://other/dev/terraform.tfstate; nothing was done. "
        "Plan again: ./deploy.sh deploy dev"
    )
    assert not works.plan_file.exists()


def test_a_state_bucket_of_another_account_stops_every_verb(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise Refused("the state bucket belongs to another account")

    monkeypatch.setattr(state, "has_bucket", refuse)
    for verb in (deploy.deploy, deploy.bootstrap, deploy.plan_environment, deploy.apply, deploy.drift, deploy.destroy):
        assert refusal(verb) == "the state bucket belongs to another account"
    assert done == []


def test_a_second_command_in_one_checkout_is_refused(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    deploy.plan_environment(options())
    deploy.plan_environment(options())  # by the same process, which bootstraps and deploys
    monkeypatch.setattr(deploy, "_locks", [])  # as another process has it
    assert refusal(deploy.plan_environment) == (
        "another command is running in this checkout. Wait for it to finish, or use another clone."
    )


def test_settings_of_bootstrap_do_not_contradict_the_environments(
    done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make(tmp_path, monkeypatch)
    monkeypatch.setattr(deploy, "ROOT", tmp_path)
    monkeypatch.setattr(deploy, "BOOTSTRAP", tmp_path / "bootstrap")
    (env / "bootstrap.tfvars").write_text('region = "eu-west-1"\n')
    assert refusal(deploy.bootstrap) == (
        "env/bootstrap.tfvars sets region, which comes from the files of the environments. Remove it there."
    )
    for setting, value in {
        "key_prefixes": '{ prdo = "clinic-a/" }',
        "disposable_environments": '["dev", "prdo"]',
    }.items():
        (env / "bootstrap.tfvars").write_text(f"{setting} = {value}\n")
        assert refusal(deploy.bootstrap) == (
            f"env/bootstrap.tfvars names prdo in {setting}, and env/ has no environment of that name, only dev. "
            "Correct it."
        )


@pytest.mark.parametrize("kept", [True, False])
def test_destroy_requires_the_environments_name(done: list[str], monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    pipelines = [
        argparse.Namespace(name="dev", force_destroy=True),
        argparse.Namespace(name="prod", force_destroy=not kept),
    ]
    monkeypatch.setattr(state, "pipelines", lambda *_: pipelines)
    if kept:
        assert refusal(deploy.destroy, yes=True) == (
            "prod keeps its data. To delete that too, set force_destroy = true in env/dev.tfvars, run "
            "./deploy.sh deploy dev, and destroy again."
        )
        assert done == []
        return
    assert refusal(deploy.destroy) == (
        "destroy asks for the environment's name, and there is no terminal. To answer it beforehand: "
        "./deploy.sh destroy dev --yes"
    )
    type_at_a_terminal(monkeypatch, "prod")
    assert refusal(deploy.destroy) == "the name does not match; nothing was changed."
    assert "dev destroy" not in done
    type_at_a_terminal(monkeypatch, "dev")
    assert deploy.destroy(options()) == 0
    assert deploy.destroy(options(yes=True)) == 0
    assert done.count("dev destroy") == 2


def test_an_environment_without_a_state_bucket_was_never_deployed(done: list[str]) -> None:
    other = Environment("dev", SETTINGS | {"project_name": "other"})
    for verb in (deploy.plan_environment, deploy.apply, deploy.drift, deploy.destroy, deploy.unlock):
        assert refusal(verb, environment=other) == (
            f"dev was never deployed from account {ACCOUNT}. Deploy it: ./deploy.sh deploy dev"
        )
    assert done == []
