"""The providers that Terraform is attached to: their schemas, and that no two commands share one at the same time."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import providers
import pytest
from commands.terraform import locked_version
from local_aws import provider
from local_aws.provider.schemas import filtered, kept
from providers import Providers

from . import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
SHIM = ROOT / "tests/runner/attached_terraform.py"


def field(number: int, content: bytes) -> bytes:
    """Serialize a length-delimited field, as Protocol Buffers encode it."""
    length, encoded = len(content), b""
    while length > 0x7F:
        encoded += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([length]) + content


def schema(number: int, name: str, size: int = 3) -> bytes:
    return field(number, field(1, name.encode()) + field(2, b"x" * size))


def test_only_the_schemas_of_the_wanted_types_are_kept() -> None:
    kept = [
        field(1, b"the provider itself"),
        schema(2, "aws_s3_bucket", size=200_000),
        schema(3, "aws_region"),
        schema(7, "a function"),
        schema(8, "aws_secret"),
    ]
    others = [schema(2, "aws_instance", size=300), schema(3, "aws_ami"), schema(8, "aws_other")]
    mixed = b"".join([others[0], kept[0], kept[1], others[1], kept[2], kept[3], others[2], kept[4]])
    assert filtered(mixed, {"aws_s3_bucket", "aws_region", "aws_secret", "not there"}) == b"".join(kept)


def test_schemas_of_another_format_are_refused() -> None:
    with pytest.raises(ValueError, match="field 6 of the provider's schemas is not length-delimited"):
        filtered(bytes([6 << 3, 1]), set())


def test_the_provider_is_asked_once_for_its_schemas(tmp_path: Path) -> None:
    asked, file = [], tmp_path / "schemas/kept"

    async def ask() -> bytes:
        asked.append(file)
        return schema(2, "aws_s3_bucket") + schema(2, "aws_instance")

    for _ in range(2):
        assert asyncio.run(kept(file, {"aws_s3_bucket"}, ask)) == schema(2, "aws_s3_bucket")
    assert asked == [file]
    assert list(file.parent.iterdir()) == [file]


def test_what_the_provider_says_went_wrong_is_not_kept(tmp_path: Path) -> None:
    async def ask() -> bytes:
        return field(4, b"no room")

    assert asyncio.run(kept(tmp_path / "kept", {"aws_s3_bucket"}, ask)) == field(4, b"no room")
    assert not (tmp_path / "kept").exists()


def test_other_schemas_are_kept_elsewhere() -> None:
    executables = (Path("provider_v5.100.0_x5"), Path("provider_v6.0.0_x5"))
    types = ({"aws_s3_bucket"}, {"aws_s3_bucket", "aws_sqs_queue"})
    assert len({provider.schemas_file(each, some) for each in executables for some in types}) == 4
    assert provider.schemas_file(Path("one/provider"), types[0]) == provider.schemas_file(
        Path("other/provider"), types[0]
    )


def test_types_are_those_that_the_code_names(tmp_path: Path) -> None:
    module = tmp_path / "modules/s3/main.tf"
    module.parent.mkdir(parents=True)
    module.write_text('resource "aws_s3_bucket" "raw" {}\ndata "aws_region" "here" {}\n')
    (tmp_path / "main.tf").write_text("moved {\n  from = aws_sqs_queue.old\n}\n")
    assert provider.types_in(tmp_path) == {"aws_s3_bucket", "aws_region", "aws_sqs_queue"}
    assert provider.types_in(ROOT, ROOT / "bootstrap") >= {"aws_s3_bucket", "aws_iam_openid_connect_provider"}


def test_the_executable_is_that_of_the_locked_version(tmp_path: Path) -> None:
    assert provider.executable(tmp_path) is None
    version = locked_version()
    for each in ("1.0.0", version):
        folder = tmp_path / f"providers/registry.terraform.io/hashicorp/aws/{each}/linux_amd64"
        folder.mkdir(parents=True)
        (folder / f"terraform-provider-aws_v{each}_x5").touch()
    found = provider.executable(tmp_path)
    assert found
    assert found.name == f"terraform-provider-aws_v{version}_x5"


class Started(provider.Provider):
    """A stand-in for a provider: a process that ends when its standard input does."""

    all: list[Started]
    roots: list[Path]

    @classmethod
    def start(cls, *_: Any, root: Path, **__: Any) -> Started:
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        cls.all.append(started := cls(process, f"provider {len(cls.all)}"))
        cls.roots.append(root)
        return started


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Providers]:
    Started.all, Started.roots = [], []
    monkeypatch.setattr(providers, "Provider", Started)
    pool = Providers(Path("provider"), {"aws_s3_bucket"}, tmp_path / "log")
    yield pool
    pool.stop()
    assert [started for started in Started.all if started.process.poll() is None] == []


def connect(pool: Providers, root: str = "/", **settings: str) -> tuple[socket.socket, dict[str, str]]:
    """Ask for a provider, which is the caller's until the connection is closed; return it with the answer."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(pool.variables["TERRAFORM_PROVIDERS"])
    connection.sendall(json.dumps({"root": root, "environment": settings}).encode() + b"\n")
    with connection.makefile("rb") as answer:
        return connection, json.loads(answer.readline())


def await_idle(pool: Providers, name: str) -> None:
    """Wait until a provider is back: Terraform has ended."""
    with pool._lock:
        assert pool._lock.wait_for(
            lambda: name in [provider.attach for _, provider, _ in pool._idle], timeout=PATIENCE_SECONDS
        )


def attached(pool: Providers, **settings: str) -> str:
    """Borrow a provider and return it to the pool; return its name."""
    connection, answer = connect(pool, **settings)
    name = answer["TF_REATTACH_PROVIDERS"]
    connection.close()
    await_idle(pool, name)
    return name


def test_successive_commands_share_a_provider(pool: Providers) -> None:
    assert [attached(pool, AWS_ENDPOINT_URL="a", PWD=each) for each in "xy"] == ["provider 0", "provider 0"]


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "https_proxy"])
def test_other_settings_have_another_provider(pool: Providers, name: str) -> None:
    assert [attached(pool, **{name: each}) for each in "aba"] == ["provider 0", "provider 1", "provider 0"]


def test_another_root_module_has_another_provider_that_runs_there(pool: Providers) -> None:
    assert [attached(pool, root=each) for each in ("/", "/etc", "/")] == ["provider 0", "provider 1", "provider 0"]
    assert Started.roots == [Path("/"), Path("/etc")]


def test_concurrent_commands_have_a_provider_each(pool: Providers) -> None:
    first, answer = connect(pool)
    assert answer["TF_REATTACH_PROVIDERS"] == "provider 0"
    assert attached(pool) == "provider 1"
    first.close()
    await_idle(pool, "provider 0")


def test_a_provider_that_died_is_not_lent_again(pool: Providers) -> None:
    assert attached(pool) == "provider 0"
    Started.all[0].process.kill()
    Started.all[0].process.wait()
    assert attached(pool) == "provider 1"


def test_the_provider_that_was_idle_longest_is_ended(pool: Providers) -> None:
    for number in range(providers.MOST_IDLE + 1):
        attached(pool, AWS_REGION=str(number))
    assert Started.all[0].process.wait(timeout=PATIENCE_SECONDS) is not None
    assert all(started.process.poll() is None for started in Started.all[1:])


def test_a_provider_idle_for_long_is_ended(pool: Providers, monkeypatch: pytest.MonkeyPatch) -> None:
    attached(pool, AWS_REGION="0")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + providers.IDLE_SECONDS + 1)
    attached(pool, AWS_REGION="1")
    assert Started.all[0].process.wait(timeout=PATIENCE_SECONDS) is not None
    assert Started.all[1].process.poll() is None


def terraform(pool: Providers, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the stand-in for Terraform, which runs a program that prints what Terraform would be attached to."""
    program = pool.folder / "printing"
    program.write_text('#!/bin/sh\necho "$* $TF_REATTACH_PROVIDERS"\n')
    program.chmod(0o755)
    return subprocess.run(
        [sys.executable, "-IS", str(SHIM), *arguments],
        env=os.environ | pool.variables | {"TERRAFORM": str(program)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_terraform_is_attached_while_it_runs(pool: Providers) -> None:
    assert terraform(pool, "-chdir=bootstrap", "plan").stdout == "-chdir=bootstrap plan provider 0\n"
    await_idle(pool, "provider 0")


@pytest.mark.parametrize("command", [["fmt"], ["version", "-json"], ["-version"], []])
def test_commands_that_need_no_provider_start_none(pool: Providers, command: list[str]) -> None:
    assert terraform(pool, *command).stdout == " ".join(command) + " \n"
    assert Started.all == []


def test_an_attached_terraform_stays_attached(pool: Providers) -> None:
    assert terraform(pool, "plan", TF_REATTACH_PROVIDERS="mine").stdout == "plan mine\n"


def test_a_provider_that_does_not_start_is_reported_in_one_line(
    pool: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the provider did not start; its log says why")

    monkeypatch.setattr(Started, "start", fail)
    run = terraform(pool, "plan")
    assert (run.returncode, run.stderr) == (1, "error: the provider did not start; its log says why\n")
