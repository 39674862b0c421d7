"""How Terraform is called: the settings that it gets, the meaning of its errors, and how it is stopped."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from commands import terraform
from commands.terminal import Refused, Stopped
from commands.terraform import SignalRelay, Terraform, check_version, environment, provider_source

LOCKED = """\
╷
│ Error: Error acquiring the state lock
│
│ Error message: operation error S3: PutObject, https response error StatusCode: 412, api error PreconditionFailed
│ Lock Info:
│   ID:        3f2a7c1e-0000-4000-8000-123456789abc
│   Path:      bucket/dev/terraform.tfstate
│   Operation: OperationTypeApply
│   Who:       ada@laptop
│   Version:   1.11.4
│   Created:   2026-08-01 07:30:00.541012683 +0000 UTC
│   Info:
╵
"""
COLOURED = LOCKED.replace("│", "\x1b[31m│\x1b[0m \x1b[0m").replace(
    "Error:", "\x1b[1m\x1b[31mError: \x1b[0m\x1b[0m\x1b[1m"
)
SAID = (
    "is locked by ada@laptop since 2026-08-01 07:30:00 UTC (OperationTypeApply). Wait for that to finish. "
    "If it died: ./deploy.sh unlock dev 3f2a7c1e-0000-4000-8000-123456789abc"
)
REFUSED = "Error: Error acquiring the state lock\n\nError message: operation error S3: PutObject, AccessDenied\n"
OTHER = f"Error: creating SQS Queue: AccessDenied\n\n{LOCKED[LOCKED.index('│   ID') :]}"
STALE = "╷\n│ Error: Saved plan is stale\n│ \n│ The given plan file can no longer be applied because\n╵\n"


TAKEN = (
    "Error: creating IAM OIDC Provider: EntityAlreadyExists: Provider with url "
    "https://token.actions.githubusercontent.com already exists.\n\n  with aws_iam_openid_connect_provider.github[0],\n"
)

# As the provider prints them, wrapped at the width of the terminal.
TOO_NEW = (
    "│ Error: creating S3 Bucket (raw) Notification: operation error S3: PutBucketNotification, api error\n"
    "│ InvalidArgument: Unable to validate the following destination configurations\n"
)
NOT_COUNTED = (
    "│ Error: enabling KMS Key rotation: AccessDeniedException: User: arn:aws:sts::1:assumed-role/a/b is not\n"
    "│ authorized to perform: kms:EnableKeyRotation on resource: arn:aws:kms:us-east-1:1:key/k\n"
)


class Nobody:
    """An account that Terraform never calls."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)


def on(target: str, folder: Path, **more: Any) -> Terraform:
    option = " --bootstrap" if target == "bootstrap" else ""
    account: Any = Nobody()
    return Terraform(
        target,
        folder,
        folder,
        account,
        [],
        [],
        state="s3://bucket/key",
        retry=f"./deploy.sh {'bootstrap' if target == 'bootstrap' else 'deploy'} dev",
        replan="./deploy.sh plan dev",
        unlock=f"./deploy.sh unlock dev {{id}}{option}",
        **more,
    )


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose terraform runs the file do.py beside it, and a mirror, so that nothing is downloaded."""
    program = tmp_path / "terraform"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "do.py"} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TF_CLI_ARGS_init", "-plugin-dir=/nowhere")
    return tmp_path / "do.py"


@pytest.mark.parametrize(
    ("errors", "target", "meaning"),
    [
        (LOCKED, "dev", f"dev {SAID}"),
        (COLOURED, "dev", f"dev {SAID}"),
        (LOCKED, "bootstrap", f"bootstrap {SAID} --bootstrap"),
        (REFUSED, "dev", ""),
        (OTHER, "dev", ""),
        ("", "dev", ""),
        (
            STALE,
            "dev",
            "the plan for dev is out of date, as the state has changed since; nothing was done. "
            "Plan again: ./deploy.sh plan dev",
        ),
        (
            TAKEN,
            "bootstrap",
            "this account already has an OIDC provider for GitHub, and an account can have only one. Set "
            "create_oidc_provider = false in github in env/bootstrap.tfvars, then run ./deploy.sh bootstrap dev",
        ),
        (
            TOO_NEW,
            "dev",
            "S3 does not accept a notification of dev yet, because the permissions for it, which are new, take some "
            "seconds to spread. Run it again: ./deploy.sh deploy dev",
        ),
        (
            NOT_COUNTED,
            "dev",
            "these credentials may not call kms:EnableKeyRotation for dev. If its key is new, AWS takes up to five "
            "minutes to count the tags that allow it: wait, then run ./deploy.sh deploy dev",
        ),
    ],
    ids=[
        "locked",
        "in colour",
        "bootstrap locked",
        "lock refused",
        "something else",
        "nothing",
        "stale",
        "provider",
        "a new notification",
        "a new key",
    ],
)
def test_an_error_ends_with_its_meaning(
    fake: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], errors: str, target: str, meaning: str
) -> None:
    fake.write_text(f"import sys; sys.stderr.write({errors!r}); sys.exit(1)")
    with pytest.raises(Refused) as refused:
        on(target, tmp_path).apply()
    unknown = (
        "Apply to dev failed; Terraform's message is above. What was done is in the state: fix the cause, then run "
        "./deploy.sh deploy dev"
    )
    assert str(refused.value) == (meaning or unknown)
    assert capfd.readouterr().err == errors


def test_an_unsaved_state_is_saved_from_where_terraform_left_it(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terraform, "ROOT", tmp_path)
    (tmp_path / "root").mkdir()
    works = on("dev", tmp_path)
    works.root = tmp_path / "root"
    left, kept, calls = works.root / "errored.tfstate", tmp_path / "errored-dev.tfstate", tmp_path / "calls"
    do = "import sys\nfrom pathlib import Path\nPath({calls!r}).open('a').write(' '.join(sys.argv[2:]) + '\\n')\n{then}"
    left.write_text("{}")
    fake.write_text(do.format(calls=str(calls), then="sys.exit('push' in sys.argv)"))
    with pytest.raises(Refused, match=r"^the state of dev could not be saved; it is in .*dev.tfstate\. Keep that"):
        works.apply()
    assert (left.exists(), kept.exists()) == (False, True)
    fake.write_text(do.format(calls=str(calls), then=""))
    works.apply()
    assert not kept.exists()
    assert [line.split(" ")[0] for line in calls.read_text().splitlines()] == ["state", "state", "apply"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_terraform_once_and_waits_for_it(fake: Path, tmp_path: Path, number: int) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    fake.write_text(
        "import signal\nfrom pathlib import Path\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        f"Path({str(started)!r}).touch()\nsignal.sigwait([signal.SIGINT])\n"
        f"Path({str(ended)!r}).write_text(str(len(signal.sigpending())))\n"
    )

    def send() -> None:
        while not started.exists():
            pass
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_DFL)  # nohup may have it ignored
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(Stopped) as stopped:
            on("dev", tmp_path).apply()
    finally:
        sender.join()
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, before if each == number else signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert (stopped.value.number, ended.read_text()) == (number, "0")


def test_a_signal_before_the_process_is_known_reaches_it() -> None:
    try:
        relay = SignalRelay()
        relay.__enter__()
        os.kill(os.getpid(), signal.SIGTERM)
        process = relay.start([sys.executable, "-c", "import signal; signal.pause()"])
        with pytest.raises(Stopped):
            relay.__exit__()
    finally:
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert process.returncode == -signal.SIGINT


def test_terraform_gets_no_settings_that_the_commands_decide(tmp_path: Path) -> None:
    config = tmp_path / "terraformrc"
    config.write_text("")
    mirror = {"TF_CLI_ARGS_init": "-plugin-dir=/nowhere"}
    caller = {
        "TF_VAR_region": "x",
        "TF_AWS_DEFAULT_TAGS_a": "b",
        "TF_WORKSPACE": "default",
        "TF_REATTACH_PROVIDERS": "{}",
        "PYTHONPATH": "scripts",
        "PATH": "/bin",
        "TF_LOG": "INFO",
    }
    ours = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    expected = {"PATH": "/bin", "TF_LOG": "INFO"} | mirror | ours
    assert environment(caller | mirror) == expected
    assert environment(caller | mirror | {"TF_CLI_CONFIG_FILE": str(tmp_path / "missing")}) == expected
    assert environment(caller | mirror | {"TF_CLI_CONFIG_FILE": str(config)}) == expected | {
        "TF_CLI_CONFIG_FILE": str(config)
    }


def test_terraform_attaches_to_the_provider_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_REATTACH_PROVIDERS", "the caller's")
    assert on("local", tmp_path, provider="ours")._environment()["TF_REATTACH_PROVIDERS"] == "ours"
    assert "TF_REATTACH_PROVIDERS" not in on("dev", tmp_path)._environment()


def test_the_provider_comes_from_a_mirror_that_has_the_locked_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terraform, "ROOT", tmp_path)
    monkeypatch.setattr(terraform, "MIRRORS", (f"{tmp_path}/*",))
    (tmp_path / ".terraform.lock.hcl").write_text('provider "p" {\n  version     = "5.100.0"\n}\n')
    for name, version in (("old", "5.99.0"), ("right", "5.100.0")):
        (tmp_path / name / "registry.terraform.io/hashicorp/aws" / version).mkdir(parents=True)
    named = tmp_path / "named"
    (named / "registry.terraform.io/hashicorp/aws").mkdir(parents=True)
    (named / "registry.terraform.io/hashicorp/aws/terraform-provider-aws_5.100.0_linux_amd64.zip").touch()
    found = {"TF_CLI_ARGS_init": f"-plugin-dir={tmp_path / 'right'}"}
    assert provider_source({"HOME": str(tmp_path)}) in (found, {"TF_CLI_ARGS_init": f"-plugin-dir={named}"})
    assert provider_source({"TF_PROVIDER_MIRROR": str(named)}) == {"TF_CLI_ARGS_init": f"-plugin-dir={named}"}
    assert provider_source({"TF_CLI_ARGS_init": "-plugin-dir=/mine"}) == {}
    spaced = named.rename(tmp_path / "my mirror")
    assert provider_source({"TF_PROVIDER_MIRROR": str(spaced)}) == {"TF_CLI_ARGS_init": f"'-plugin-dir={spaced}'"}
    with pytest.raises(Refused, match=r"^TF_PROVIDER_MIRROR is .*/old, which does not hold version 5\.100\.0"):
        provider_source({"TF_PROVIDER_MIRROR": str(tmp_path / "old")})


def test_without_a_mirror_the_provider_is_downloaded_once_for_all_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terraform, "ROOT", tmp_path)
    monkeypatch.setattr(terraform, "MIRRORS", ())
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".terraform.lock.hcl").write_text('  version = "5.100.0"\n')
    assert provider_source({}) == {"TF_PLUGIN_CACHE_DIR": str(tmp_path / ".local/terraform-plugins")}
    assert provider_source({"TF_PLUGIN_CACHE_DIR": str(tmp_path / "mine")}) == {
        "TF_PLUGIN_CACHE_DIR": str(tmp_path / "mine")
    }


@pytest.mark.parametrize(
    ("version", "refusal"),
    [
        ('{"terraform_version": "1.11.4"}', ""),
        ('{"terraform_version": "1.12.0-beta1"}', ""),
        ('{"terraform_version": "2.0.0"}', ""),
        ('{"terraform_version": "1.10.5"}', "Terraform 1.11 is needed, found 1.10.5. Get it from "),
        ('{"terraform_version": "0.15.5"}', "Terraform 1.11 is needed, found 0.15.5. Get it from "),
        ("Terraform v0.11.14", "terraform version fails. Get Terraform 1.11 or newer from "),
    ],
)
def test_an_old_terraform_is_refused(fake: Path, version: str, refusal: str) -> None:
    fake.write_text(f"print({version!r})")
    if not refusal:
        check_version()
        return
    with pytest.raises(Refused, match=refusal):
        check_version()
