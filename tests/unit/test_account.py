"""Whose account it is, where the state lives, and what is wrong with the files of an environment."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import account
import boto3
import moto
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

ACCOUNT = "123456789012"
BUCKET = f"ikerian-data-pipeline-tfstate-{ACCOUNT}-us-east-1"
BACKEND = 'key = "dev/terraform.tfstate"\nregion = "us-east-1"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return env/ of a repository with a good dev."""
    folder = tmp_path / "env"
    folder.mkdir()
    (tmp_path / "variables.tf").write_text((account.ROOT / "variables.tf").read_text())
    (folder / "dev.tfvars").write_text("environments = { dev = {} }")
    (folder / "backend.hcl").write_text(BACKEND)
    monkeypatch.setattr(account, "ROOT", tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return folder


@pytest.fixture
def s3() -> Iterator[Any]:
    with moto.mock_aws():
        yield boto3.client("s3", region_name="us-east-1")


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setenv("AWS_REGION", "")  # the command sets both
    monkeypatch.setenv("AWS_DEFAULT_REGION", "")
    monkeypatch.setattr(sys, "argv", ["account.py", *arguments])
    account.main()
    return capsys.readouterr().out


def known(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = run(monkeypatch, capsys, "show", "dev").splitlines()
    return dict(line.split("=", 1) for line in lines)


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, capsys, *arguments)
    return str(ended.value)


def test_the_environments_of_this_repository_are_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [path.stem for path in (account.ROOT / "env").glob("*.tfvars") if path.stem != "bootstrap"]
    assert "local" in names
    for name in names:
        environment = account.Environment(name)
        environment.accounts()
        assert environment.state_bucket(ACCOUNT).endswith(f"-tfstate-{ACCOUNT}-{environment.variable('region')}")


def test_an_empty_account(folder: Path, s3: Any, monkeypatch: Any, capsys: Any) -> None:
    assert known(monkeypatch, capsys) == {
        "project_name": "ikerian-data-pipeline",
        "region": "us-east-1",
        "account": ACCOUNT,
        "state_bucket": BUCKET,
        "state_exists": "no",
        "bootstrapped": "no",
    }


@pytest.mark.parametrize(
    ("outputs", "bootstrapped"), [({}, "no"), ({"github_roles": {}}, "no"), ({"state_bucket_name": {}}, "yes")]
)
def test_bootstrap_is_done_when_its_last_output_is_there(
    folder: Path, s3: Any, monkeypatch: Any, capsys: Any, outputs: dict[str, Any], bootstrapped: str
) -> None:
    run(monkeypatch, capsys, "make-bucket", "dev")
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert [known(monkeypatch, capsys)[name] for name in ("state_exists", "bootstrapped")] == ["yes", "no"]
    s3.put_object(Bucket=BUCKET, Key="bootstrap/terraform.tfstate", Body=json.dumps({"outputs": outputs}).encode())
    assert known(monkeypatch, capsys)["bootstrapped"] == bootstrapped
    run(monkeypatch, capsys, "make-bucket", "dev")  # again, and nothing happens


def test_a_bucket_of_somebody_else_is_refused(folder: Path, s3: Any, monkeypatch: Any, capsys: Any) -> None:
    s3.create_bucket(Bucket=BUCKET)  # and then S3 answers as it does when the owner is not the one that was expected

    def forbid(request: AWSPreparedRequest, **_: object) -> Any:
        expected = request.headers.get("x-amz-expected-bucket-owner", b"999988887777")
        return (
            AWSResponse(request.url, 403, HTTPHeaders(), HTTPResponse(io.BytesIO()))
            if expected != b"999988887777"
            else None
        )

    session: Any = boto3.Session()
    session.events.register_first("before-send.s3", forbid)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    for command in ("show", "make-bucket"):
        assert refusal(monkeypatch, capsys, command, "dev") == (
            f"error: the state bucket {BUCKET} belongs to another account or refuses access; nothing was done. "
            "Check your permissions on it, or choose another project_name."
        )


@pytest.mark.parametrize("written", [ACCOUNT, f'"{ACCOUNT}"'])
def test_the_right_account(folder: Path, s3: Any, monkeypatch: Any, capsys: Any, written: str) -> None:
    (folder / "dev.tfvars").write_text(f"environments = {{ dev = {{ account_id = {written} }} }}")
    assert known(monkeypatch, capsys)["account"] == ACCOUNT


@pytest.mark.parametrize("written", ["111122223333", '"111122223333"'])
def test_the_wrong_account(folder: Path, s3: Any, monkeypatch: Any, capsys: Any, written: str) -> None:
    (folder / "dev.tfvars").write_text(f"environments = {{ dev = {{ account_id = {written} }} }}")
    assert refusal(monkeypatch, capsys, "show", "dev") == (
        f"error: dev belongs to account 111122223333, and these credentials are of {ACCOUNT}. Nothing was done. "
        "Use the right profile, or mend account_id in env/dev.tfvars."
    )


@pytest.mark.parametrize("written", ["001122223333", '"1234"', '"acme"'])
def test_an_account_that_is_none(folder: Path, s3: Any, monkeypatch: Any, capsys: Any, written: str) -> None:
    (folder / "dev.tfvars").write_text(f"environments = {{ dev = {{ account_id = {written} }} }}")
    assert refusal(monkeypatch, capsys, "show", "dev") == (
        "error: account_id in env/dev.tfvars is not an AWS account. Use its 12 digits in quotes."
    )


def test_one_region_for_resources_and_state(folder: Path, s3: Any, monkeypatch: Any, capsys: Any) -> None:
    (folder / "dev.tfvars").write_text('region = "eu-central-1"\nenvironments = { dev = {} }')
    assert refusal(monkeypatch, capsys, "show", "dev") == (
        "error: dev is in eu-central-1, and env/backend.hcl looks for its state in us-east-1. "
        "Set region to the same in env/dev.tfvars and in env/backend.hcl."
    )
    (folder / "backend.hcl").write_text(BACKEND.replace("us-east-1", "eu-central-1"))
    assert known(monkeypatch, capsys)["state_bucket"] == f"ikerian-data-pipeline-tfstate-{ACCOUNT}-eu-central-1"
    run(monkeypatch, capsys, "make-bucket", "dev")
    assert known(monkeypatch, capsys)["state_exists"] == "yes"


def test_a_file_that_is_missing_stops_its_environment_and_no_other(
    folder: Path, s3: Any, monkeypatch: Any, capsys: Any
) -> None:
    (folder / "staging.tfvars").write_text("environments = { staging = {} }")
    assert refusal(monkeypatch, capsys, "show", "staging") == (
        "error: env/staging-backend.hcl is missing. An environment needs it; that of prod is an example."
    )
    assert known(monkeypatch, capsys)["account"] == ACCOUNT


def test_a_file_that_cannot_be_read(folder: Path, s3: Any, monkeypatch: Any, capsys: Any) -> None:
    (folder / "dev.tfvars").write_text("environments = {")
    message = refusal(monkeypatch, capsys, "show", "dev")
    assert message.startswith("error: env/dev.tfvars cannot be read (")
    assert message.endswith("). terraform fmt shows where.")


def test_the_environments_of_an_account(folder: Path, s3: Any, monkeypatch: Any, capsys: Any) -> None:
    (folder / "prod.tfvars").write_text(f'environments = {{ prod = {{ account_id = "{ACCOUNT}" }} }}')
    (folder / "far.tfvars").write_text('environments = { far = { account_id = "111122223333" } }')
    for name in ("local", "bootstrap"):
        (folder / f"{name}.tfvars").write_text("")
    assert json.loads(run(monkeypatch, capsys, "environments", "dev")) == ["dev", "prod"]


@pytest.mark.parametrize("on_github", [False, True])
def test_nobody(folder: Path, monkeypatch: Any, capsys: Any, on_github: bool) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    if on_github:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    remedy = {
        False: "Set AWS_PROFILE, or sign in again, and repeat.",
        True: "Look at its secrets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or at its variable with a role's ARN.",
    }[on_github]
    assert refusal(monkeypatch, capsys, "show", "dev") == (
        f"error: AWS does not know you: Unable to locate credentials. {remedy}"
    )
