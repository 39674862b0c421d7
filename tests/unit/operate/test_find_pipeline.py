"""Which deployed pipeline a name means, and the refusal when there is none."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest
from botocore.exceptions import EndpointConnectionError
from commands import __main__, aws, environment, settings, state
from commands.terminal import Refused

from tests.unit import checkout

from .pipeline import outputs, refuse

FILES: dict[str, dict[str, Any]] = {
    "dev": {"environments": ["dev", "test"], "state": ["dev", "test"]},
    "team": {"environments": ["red", "blue"], "state": ["red", "blue"]},
    "solo": {"environments": ["one"], "state": ["one"]},
    "gone": {"environments": ["gone"], "state": []},
    "never": {"environments": ["never"], "state": None},
}
BUCKET = "ikerian-data-pipeline-tfstate-123456789012-us-east-1"


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A state bucket with a state for each of FILES, and a checkout with these files."""
    for path in ("variables.tf", "bootstrap/variables.tf"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(settings.ROOT / path, tmp_path / path)
    for module in (settings, environment):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "BOOTSTRAP", tmp_path / "bootstrap")
    (tmp_path / "env").mkdir()
    with moto.mock_aws():
        make: Any = boto3.client
        client = make("s3")
        client.create_bucket(Bucket=BUCKET)
        for name, file in FILES.items():
            entries = "".join(f"  {one} = {{}}\n" for one in file["environments"])
            (tmp_path / f"env/{name}.tfvars").write_text(f"environments = {{\n{entries}}}\n")
            backend = "backend" if name == "dev" else f"{name}-backend"
            (tmp_path / f"env/{backend}.hcl").write_text(checkout.backend(name))
            if file["state"] is not None:
                pipelines = {one: outputs(f"queue of {one}", "") for one in file["state"]}
                content = {"version": 4, "outputs": {"pipelines": {"value": pipelines}} if pipelines else {}}
                client.put_object(Bucket=BUCKET, Key=f"{name}/terraform.tfstate", Body=json.dumps(content))
        yield client


def find(name: str) -> state.Pipeline:
    """Find a pipeline as the command line does."""
    return state.find_pipeline(name, environment.holding(name))


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("name", "means", "file"),
    [
        ("dev", "dev", "dev"),
        ("test", "test", "dev"),
        ("blue", "blue", "team"),
        ("solo", "one", "solo"),
        ("one", "one", "solo"),
    ],
)
def test_a_name_means_a_file_or_an_entry_in_one(name: str, means: str, file: str) -> None:
    found = find(name)
    assert (found.name, found.file, found.ingestion) == (means, file, f"queue of {means}")


@pytest.mark.usefixtures("s3", "signals")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "staging",
            "unknown environment: staging. env/ has dev, gone, never, solo, team, and the entries in these.",
        ),
        ("team", "team holds blue and red. Name one of them."),
        ("never", "never was never deployed from account 123456789012. Deploy it: ./deploy.sh deploy never"),
        ("gone", "gone is not deployed in account 123456789012. Deploy it: ./deploy.sh deploy gone"),
    ],
)
def test_a_name_without_a_pipeline_is_reported_in_one_line(
    name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["status", name]) == 1
    assert capsys.readouterr() == ("", f"error: {says}\n")


def test_an_undeployed_entry_is_reported_with_the_deploy_of_its_file(s3: Any, tmp_path: Path) -> None:
    entries = "environments = {\n  red = {}\n  blue = {}\n  green = {}\n}\n"
    (tmp_path / "env/team.tfvars").write_text(entries)
    says = "green is not deployed in account 123456789012. Deploy it: ./deploy.sh deploy team"
    with pytest.raises(Refused, match=f"^{re.escape(says)}$"):
        find("green")


def test_an_account_without_a_state_bucket(s3: Any) -> None:
    for name in FILES:
        s3.delete_object(Bucket=BUCKET, Key=f"{name}/terraform.tfstate")
    s3.delete_bucket(Bucket=BUCKET)
    says = "test was never deployed from account 123456789012. Deploy it: ./deploy.sh deploy dev"
    with pytest.raises(Refused, match=f"^{re.escape(says)}$"):
        find("test")


def test_a_state_is_read_only_from_this_account_and_a_denial_is_reported(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    make = aws.Account.client

    def watched(account: aws.Account, service: str) -> Any:
        client = make(account, service)
        if service == "s3":
            client.meta.events.register("provide-client-params.s3.GetObject", lambda params, **_: asked.append(params))
            refuse(client, "s3", "GetObject", "AccessDenied")
        return client

    monkeypatch.setattr(aws.Account, "client", watched)
    with pytest.raises(Refused) as refused:
        find("dev")
    assert str(refused.value) == (
        f"the state s3://{BUCKET}/dev/terraform.tfstate cannot be read: GetObject AccessDenied. "
        "These credentials need s3:GetObject on it and s3:ListBucket on its bucket."
    )
    assert [params["ExpectedBucketOwner"] for params in asked] == ["123456789012"]


@pytest.mark.usefixtures("s3")
def test_an_unreachable_state_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    make = aws.Account.client

    def unreachable(account: aws.Account, service: str) -> Any:
        client = make(account, service)
        if service == "s3":
            monkeypatch.setattr(client, "get_object", cannot_connect)
        return client

    def cannot_connect(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://nowhere.invalid/")

    monkeypatch.setattr(aws.Account, "client", unreachable)
    with pytest.raises(Refused) as refused:
        find("dev")
    assert str(refused.value) == (
        f"the state s3://{BUCKET}/dev/terraform.tfstate cannot be read: "
        'Could not connect to the endpoint URL: "https://nowhere.invalid/". Try again.'
    )


def test_wrong_options_are_refused_before_the_pipeline_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(environment, "holding", asked.append)
    monkeypatch.setattr(state, "find_pipeline", asked.append)
    with pytest.raises(SystemExit) as refused:
        __main__.run(["audit", "prod", "--rat", "7"])
    assert (refused.value.code, asked) == (2, [])


def test_wrong_settings_are_refused_before_any_call_to_aws(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(aws, "connect", asked.append)
    (tmp_path / "env/dev.tfvars").write_text("environments = { dev = { memory = 1 } }\n")
    with pytest.raises(Refused, match=r"^env/dev\.tfvars: there is no setting memory in environments\.dev; "):
        __main__.run(["audit"])
    assert asked == []


@pytest.mark.usefixtures("s3")
def test_the_region_is_the_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "eu-central-1")
    found = find("dev")
    assert found.client("sqs").meta.region_name == found.account.region == "us-east-1"
