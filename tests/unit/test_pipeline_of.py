"""Which deployed pipeline a name means, and what is said where there is none."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import account
import boto3
import moto
import operate
import pytest

from .test_operate import refuse

FILES: dict[str, dict[str, Any]] = {
    "dev": {"environments": ["dev", "test"], "state": ["dev", "test"]},
    "team": {"environments": ["red", "blue"], "state": ["red", "blue"]},
    "solo": {"environments": ["one"], "state": ["one"]},
    "gone": {"environments": ["gone"], "state": []},
    "never": {"environments": ["never"], "state": None},
}


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A state bucket with a state for each of FILES, and a checkout with these files."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.delenv("PIPELINE", raising=False)
    monkeypatch.setattr(account, "ROOT", tmp_path)
    shutil.copy(Path(operate.__file__).parents[1] / "variables.tf", tmp_path)
    (tmp_path / "env").mkdir()
    with moto.mock_aws():
        make: Any = boto3.client
        client = make("s3")
        client.create_bucket(Bucket=BUCKET)
        for name, file in FILES.items():
            settings = "".join(f"  {one} = {{}}\n" for one in file["environments"] or [])
            (tmp_path / f"env/{name}.tfvars").write_text(f"environments = {{\n{settings}}}\n")
            backend = "backend" if name == "dev" else f"{name}-backend"
            (tmp_path / f"env/{backend}.hcl").write_text(f'key = "{name}/terraform.tfstate"\nregion = "us-east-1"\n')
            if file["state"] is not None:
                pipelines = {one: {"lambda_function_name": f"function of {one}"} for one in file["state"]}
                state = {"version": 4, "outputs": {"pipelines": {"value": pipelines}} if pipelines else {}}
                client.put_object(Bucket=BUCKET, Key=f"{name}/terraform.tfstate", Body=json.dumps(state))
        yield client


BUCKET = "ikerian-data-pipeline-tfstate-123456789012-us-east-1"


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(("name", "means"), [("dev", "dev"), ("test", "test"), ("blue", "blue"), ("solo", "one")])
def test_a_name_is_that_of_a_file_or_of_an_entry_in_one(name: str, means: str) -> None:
    assert account.pipeline(name) == {"lambda_function_name": f"function of {means}"}


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("staging", "unknown environment: staging. env/ knows dev, gone, never, solo, team, and what is in these."),
        ("team", "team holds blue and red. Name one of them."),
        ("never", "never was never deployed from account 123456789012. Deploy it: ./deploy.sh deploy never"),
        ("gone", "gone is not deployed in account 123456789012. Deploy it: ./deploy.sh deploy gone"),
    ],
)  # fmt: skip
def test_a_name_that_means_nothing_is_one_clear_line(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        operate.main(["status", name])
    assert refused.value.code == f"error: {says}"
    assert capsys.readouterr() == ("", "")


def test_an_account_without_a_state_bucket(s3: Any) -> None:
    for name in FILES:
        s3.delete_object(Bucket=BUCKET, Key=f"{name}/terraform.tfstate")
    s3.delete_bucket(Bucket=BUCKET)
    with pytest.raises(SystemExit, match=r"^error: test was never deployed .* Deploy it: \./deploy\.sh deploy dev$"):
        account.pipeline("test")


def test_a_state_that_may_not_be_read_or_is_of_another_account(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    s3.meta.events.register("provide-client-params.s3.GetObject", lambda params, **_: asked.append(params))
    refuse(s3, "s3", "GetObject", "AccessDenied")
    identity = boto3.client("sts")
    monkeypatch.setattr(boto3, "client", {"s3": s3, "sts": identity}.get)
    with pytest.raises(SystemExit) as refused:
        account.pipeline("dev")
    assert refused.value.code == (
        f"error: the state s3://{BUCKET}/dev/terraform.tfstate cannot be read: GetObject AccessDenied. "
        "These credentials need s3:GetObject on it and s3:ListBucket on its bucket."
    )
    assert [params["ExpectedBucketOwner"] for params in asked] == ["123456789012"]


@pytest.mark.usefixtures("s3")
def test_wrong_options_are_refused_before_anybody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(account, "pipeline", asked.append)
    with pytest.raises(SystemExit) as refused:
        operate.main(["audit", "prod", "--rat", "7"])
    assert (refused.value.code, asked) == (2, [])


@pytest.mark.usefixtures("s3")
def test_the_region_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    account.pipeline("dev")
    assert os.environ["AWS_REGION"] == "us-east-1"
