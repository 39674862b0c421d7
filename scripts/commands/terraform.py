"""Terraform, working on one root module with one state. Works on a bare Python 3.12."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.settings import ROOT
from commands.terminal import Refused, Stopped, on_signals, say, step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from commands.aws import Account

COLOURS, FRAME = re.compile(r"\x1b\[[0-9;]*m"), re.compile(r"^[╷│╵ ]+", re.MULTILINE)
INSTALL = "from https://developer.hashicorp.com/terraform/install"
OLDEST = (1, 11)
NOT_THE_CALLERS = ("PYTHONPATH", "TF_REATTACH_PROVIDERS", "TF_WORKSPACE")
MIRRORS = ("/usr/local/share/*", "/usr/local/share/*/*", "/usr/share/*", "/usr/share/*/*", "/opt/*", "/opt/*/*")


@dataclass
class Terraform:
    """A root module, its variables and its state.

    target: the name of what it works on: dev, prod, bootstrap. backend, variables: options of init and of plan. state:
    where its state is. precious: what a plan may not delete without consent. log: where output goes instead of the
    terminal. retry, replan, unlock: the commands that try again, plan again, and release a lock, with {id} for its ID.
    provider: how to attach to one that is already running; empty: Terraform starts its own.
    """

    target: str
    root: Path
    data_dir: Path
    account: Account
    backend: list[str]
    variables: list[str]
    state: str
    retry: str
    replan: str
    unlock: str
    precious: str = "data"
    log: Path | None = None
    provider: str = ""
    lock_timeout: str = "15m" if os.environ.get("CI") else "30s"  # in CI nobody is there to try again
    errors: str = field(default="", init=False)  # of the last command

    @property
    def plan_file(self) -> Path:
        """The saved plan."""
        return self.data_dir / f"{self.target}.tfplan"

    def init(self, what: str = "") -> None:
        """Point Terraform at the state, and install the provider if it is not there. Raises Refused."""
        with step(what or f"Initialise Terraform for {self.target}", self.log):
            if self._run("init", "-input=false", "-reconfigure", "-lockfile=readonly", *self.backend):
                raise Refused(
                    f"Terraform cannot be initialised for {self.target}; its message is above. Fix the cause, then run "
                    f"{self.retry}"
                )

    def plan(self, *options: str) -> dict[str, Any]:
        """Plan, keep the plan, and return it. Raises Refused."""
        self._on_state(
            f"Plan {self.target}", "plan", *self._locking, *self.variables, f"-out={self.plan_file}",
            "-compact-warnings", *options,
        )  # fmt: skip
        self._state_file.write_text(self.state)
        return self.saved_plan()

    @property
    def _state_file(self) -> Path:
        """The file that notes which state the saved plan was made for, because the plan itself does not."""
        return self.plan_file.with_suffix(".state")

    def plan_of_this_state(self) -> dict[str, Any]:
        """Return the saved plan. Raises Refused when it was made for another state, for example in another account."""
        if not self._state_file.exists() or self._state_file.read_text() != self.state:
            self.forget_plan()
            raise Refused(
                f"the saved plan was not made for the state {self.state}; nothing was done. Plan again: {self.replan}"
            )
        return self.saved_plan()

    def saved_plan(self) -> dict[str, Any]:
        """Return the saved plan. Raises Refused when it cannot be shown."""
        return dict(json.loads(self._output("show", "-json", str(self.plan_file))))

    def apply(self) -> None:
        """Do exactly what the saved plan says. Raises Refused."""
        self._on_state(f"Apply to {self.target}", "apply", *self._locking, str(self.plan_file))
        self.forget_plan()

    def forget_plan(self) -> None:
        """Delete the saved plan."""
        for file in (self.plan_file, self._state_file):
            file.unlink(missing_ok=True)

    def destroy(self) -> None:
        """Remove everything that the state holds. Raises Refused."""
        self._on_state(
            f"Destroy {self.target}", "destroy", *self._locking, "-auto-approve", "-compact-warnings", *self.variables
        )

    def adopt(self, address: str, import_id: str) -> None:
        """Import an existing resource into the state. Raises Refused."""
        self._on_state(f"Adopt {import_id}", "import", *self._locking, *self.variables, address, import_id)

    def force_unlock(self, lock_id: str) -> bool:
        """Release a lock. Returns whether there was one. Raises Refused when another lock is held."""
        with step(f"Unlock {self.target}", self.log):
            if not self._run("force-unlock", "-force", lock_id):
                return True
            if "NoSuchKey" in self.errors:
                return False
            raise Refused(
                f"{self.target} stays locked. Terraform's message is above; most often the lock ID is not the one that "
                "the refused command printed last."
            )

    @property
    def _locking(self) -> list[str]:
        return ["-input=false", f"-lock-timeout={self.lock_timeout}"]

    def _on_state(self, name: str, *arguments: str) -> None:
        """Run a command that works on the state, and say what to do when it fails."""
        self._rescue_state()
        with step(name, self.log):
            if not self._run(*arguments):
                return
            failed = self._meaning() or (
                f"{name} failed; Terraform's message is above. What was done is in the state: fix the cause, then run "
                f"{self.retry}"
            )
            self._rescue_state()
            raise Refused(failed)

    def _rescue_state(self) -> None:
        """Push a state that Terraform could not save and left in a file, which it does not read again."""
        left, kept = self.root / "errored.tfstate", ROOT / f"errored-{self.target}.tfstate"
        if left.exists():
            left.rename(kept)
        if not kept.exists():
            return
        with step(f"Save the state of {kept}", self.log):
            if self._run("state", "push", str(kept)):
                raise Refused(
                    self._meaning()
                    or f"the state of {self.target} could not be saved; it is in {kept}. Keep that file: {self.retry} "
                    "tries again."
                )
        kept.unlink()

    def _meaning(self) -> str:
        """Return what the last errors mean and what to do; empty if they are unknown."""
        plain = FRAME.sub("", COLOURS.sub("", self.errors))
        lock = dict(re.findall(r"^(ID|Who|Created|Operation): +(.+)$", plain, re.MULTILINE))
        if "Error acquiring the state lock" in plain and "ID" in lock:
            return (
                f"{self.target} is locked by {lock['Who']} since {lock['Created'][:19]} UTC ({lock['Operation']}). "
                f"Wait for that to finish. If it died: {self.unlock.format(id=lock['ID'])}"
            )
        if "Saved plan is stale" in plain:
            return (
                f"the plan for {self.target} is out of date, as the state has changed since; nothing was done. "
                f"Plan again: {self.replan}"
            )
        words = " ".join(plain.split())  # Terraform wraps lines
        if "Unable to validate the following destination configurations" in words:
            return (
                f"S3 does not accept a notification of {self.target} yet, because the permissions for it, which are "
                f"new, take some seconds to spread. Run it again: {self.retry}"
            )
        if found := re.search(r"not authorized to perform: (kms:\w+)", words):
            return (
                f"these credentials may not call {found[1]} for {self.target}. If its key is new, AWS takes up to five "
                f"minutes to count the tags that allow it: wait, then run {self.retry}"
            )
        if "EntityAlreadyExists" in plain and "aws_iam_openid_connect_provider" in plain:
            return (
                "this account already has an OIDC provider for GitHub, and an account can have only one. Set "
                f"create_oidc_provider = false in github in env/bootstrap.tfvars, then run {self.retry}"
            )
        return ""

    def _environment(self) -> dict[str, str]:
        attached = {"TF_REATTACH_PROVIDERS": self.provider} if self.provider else {}
        return environment(self.account.environment()) | {"TF_DATA_DIR": str(self.data_dir)} | attached

    def _run(self, *arguments: str) -> int:
        """Run Terraform; keep its errors. Returns its exit code. Raises Stopped, after it has ended, on a signal."""
        self.errors = ""
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(self.log.open("a")) if self.log else None
            signalled = stack.enter_context(SignalRelay())
            colour = ["-no-color"] if self.log and arguments[0] not in ("state", "force-unlock") else []
            process = signalled.start(
                ["terraform", f"-chdir={self.root}", *arguments[:1], *colour, *arguments[1:]],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            for line in process.stderr or ():
                self.errors += line
                print(line, end="", file=output or sys.stderr, flush=True)
            return process.wait()

    def _output(self, *arguments: str) -> str:
        with SignalRelay() as signalled:
            process = signalled.start(
                ["terraform", f"-chdir={self.root}", *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            output, self.errors = process.communicate()
        if process.returncode:
            say(self.errors)
            raise Refused(f"terraform {arguments[0]} failed for {self.target}; its message is above. Run {self.replan}")
        return output


class SignalRelay:
    """Relays signals while the block runs: the first interrupts the process, like Ctrl-C, so that it saves its state.

    The process has its own process group, so that it does not also get a Ctrl-C from the terminal. After a signal,
    Stopped is raised once the process has ended.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._number = 0

    def __enter__(self) -> SignalRelay:
        self._before = on_signals(self._pass_on)
        return self

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        """Start the process."""
        self._process = subprocess.Popen(command, process_group=0, **options)
        if self._number:  # the signal came before the process was known
            self._interrupt()
        return self._process

    def _pass_on(self, number: int, _: object) -> None:
        if not self._number:
            self._number = number
            self._interrupt()

    def _interrupt(self) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGINT)

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.wait()
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe:
                    pipe.close()
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self._number else handler)
        if self._number:
            raise Stopped(self._number, "What was done is in the state; run the same command again to continue.")


def environment(caller: Mapping[str, str]) -> dict[str, str]:
    """Return the environment to run Terraform in: the caller's, without what the commands decide."""
    kept = {
        name: value
        for name, value in caller.items()
        if not name.startswith(("TF_VAR_", "TF_AWS_")) and name not in NOT_THE_CALLERS
    }
    # A configuration file that is named but missing makes Terraform warn at every command.
    if not Path(kept.get("TF_CLI_CONFIG_FILE", "/")).exists():
        del kept["TF_CLI_CONFIG_FILE"]
    return kept | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"} | provider_source(kept)


def provider_source(caller: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that tell Terraform where to get the AWS provider from. Raises Refused.

    If a folder on this machine holds the locked version, it is taken from there. That is for machines that cannot reach
    the Terraform registry; TF_PROVIDER_MIRROR names such a folder, as `terraform providers mirror` makes it.
    """
    if "-plugin-dir" in caller.get("TF_CLI_ARGS_init", ""):
        return {}
    version = locked_version()
    named = caller.get("TF_PROVIDER_MIRROR")
    usual = [path for pattern in (*MIRRORS, "~/.terraform.d/*") for path in _folders(pattern)]
    for folder in [Path(named).expanduser().absolute()] if named else usual:
        if any((folder / "registry.terraform.io/hashicorp/aws").glob(f"*{version}*")):
            option = shlex.quote(f"-plugin-dir={folder}")
            return {"TF_CLI_ARGS_init": f"{option} {caller.get('TF_CLI_ARGS_init', '')}".strip()}
    if named:
        raise Refused(
            f"TF_PROVIDER_MIRROR is {named}, which does not hold version {version} of the AWS provider. Correct it, or "
            "unset it."
        )
    # From the registry: download the provider (hundreds of megabytes) once, not once per working folder.
    cache = Path(caller.get("TF_PLUGIN_CACHE_DIR") or ROOT / ".local/terraform-plugins").expanduser().absolute()
    cache.mkdir(parents=True, exist_ok=True)
    return {"TF_PLUGIN_CACHE_DIR": str(cache)}


def locked_version() -> str:
    """Return the version of the AWS provider that the lock file names."""
    locked = re.search(r'^ *version *= *"(.*)"', (ROOT / ".terraform.lock.hcl").read_text(), re.MULTILINE)
    return locked[1] if locked else "?"


def _folders(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    wild = next(number for number, part in enumerate(path.parts) if "*" in part)
    found = sorted(Path(*path.parts[:wild]).glob(str(Path(*path.parts[wild:]))))
    return [folder for folder in found if folder.is_dir()]


def check_version() -> None:
    """Raise Refused when there is no Terraform, or one that is too old."""
    if not shutil.which("terraform"):
        raise Refused(f"Terraform is missing. Get 1.11 or newer {INSTALL}")
    run = subprocess.run(
        ["terraform", "version", "-json"], env=environment(os.environ), capture_output=True, text=True, check=False
    )
    try:
        version = str(json.loads(run.stdout)["terraform_version"])
        number = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    except (ValueError, KeyError, TypeError):
        raise Refused(f"terraform version fails. Get Terraform 1.11 or newer {INSTALL}") from None
    if number < OLDEST:
        raise Refused(f"Terraform 1.11 is needed, found {version}. Get it {INSTALL}")
