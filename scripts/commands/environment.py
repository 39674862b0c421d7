"""The target of a run: the files of an environment, and no other source of settings that Terraform would read.

Terraform takes variables, options and a workspace from the caller's environment and from files that it finds by name.
The commands take none of these. So that both always have the same target, they name and refuse whatever could
contradict the environment's files.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from commands.settings import ROOT, declared, read, read_settings
from commands.terminal import Refused

BOOTSTRAP = ROOT / "bootstrap"
BOOTSTRAP_KEY = "bootstrap/terraform.tfstate"  # as in bootstrap/backend.tf
BACKEND_SETTINGS = {"key", "region", "encrypt", "use_lockfile", "kms_key_id"}
NOT_ENVIRONMENTS = ("bootstrap", "local")  # files in env/ that are not environments on AWS
# Options that may come from TF_CLI_ARGS...: they change neither what is planned nor where the state is.
HARMLESS = ("no-color", "compact-warnings", "parallelism", "plugin-dir")
# Files that Terraform finds by their names, and what they do.
FOUND_BY_NAME = dict.fromkeys(
    ("terraform.tfvars", "terraform.tfvars.json", "*.auto.tfvars", "*.auto.tfvars.json"), "sets variables"
) | dict.fromkeys(("override.tf", "override.tf.json", "*_override.tf", "*_override.tf.json"), "changes the code")


@dataclass(frozen=True)
class Environment:
    """An environment as its files describe it: env/NAME.tfvars, its backend file, and the defaults of variables.tf."""

    name: str
    settings: dict[str, Any]

    @classmethod
    def read(cls, name: str) -> Environment:
        """Read and check the files of an environment. Raises Refused with cause and remedy."""
        refuse_other_sources()
        if name not in [*names(), "local"]:
            if file := _file_with_entry(name):
                raise Refused(f"{name} is an entry of env/{file}.tfvars and is deployed with it. Use {file} instead.")
            raise Refused(
                f"unknown environment: {name}. env/ has {', '.join(names()) or 'none'}. A new one needs "
                f"env/{name}.tfvars and {backend_file(name)}; use those of prod as a template."
            )
        environment = cls(name, read_settings(ROOT / f"env/{name}.tfvars", ROOT / "variables.tf"))
        if not environment.entries:
            raise Refused(
                f"{environment.variables_file} has no environments, so Terraform would put its default, dev, into the "
                f"state of {name}. Add environments = {{ {name} = {{}} }}."
            )
        if "packages_dir" in environment.settings:
            raise Refused(
                f"{environment.variables_file} sets packages_dir, but the commands build into build/. Remove it."
            )
        environment.region  # noqa: B018 - a contradiction is found before anything else is done
        environment.accounts  # noqa: B018 - likewise
        environment._refuse_collisions()
        return environment

    @property
    def variables_file(self) -> str:
        """The file with its variables, relative to the repository."""
        return f"env/{self.name}.tfvars"

    @property
    def backend_file(self) -> str:
        """The file that says where its state is, relative to the repository."""
        return backend_file(self.name)

    @property
    def entries(self) -> dict[str, Any]:
        """The pipelines that its state holds, by name, with their settings."""
        entries = self.settings.get("environments")
        return entries if isinstance(entries, dict) else {}

    @property
    def project_name(self) -> str:
        """The first part of all names."""
        return self.variable("project_name")

    def variable(self, name: str) -> str:
        """Return a variable of the root module: from the file, else its default."""
        value = self.settings.get(name)
        return str(declared(ROOT / "variables.tf")[name].default if value is None else value)

    @cached_property
    def _backend(self) -> dict[str, Any]:
        backend = read(ROOT / self.backend_file)
        for name in ("key", "region"):
            if name not in backend:
                raise Refused(f"{self.backend_file} has no {name}. Add it; use that of prod as a template.")
        if odd := sorted(backend.keys() - BACKEND_SETTINGS):
            raise Refused(
                f"{self.backend_file} sets {odd[0]}, which the commands do not know, so that they and Terraform could "
                "look for the state in different places. Remove it."
            )
        if not all(backend.get(name) is True for name in ("encrypt", "use_lockfile")):
            raise Refused(f"{self.backend_file} must say encrypt = true and use_lockfile = true. Add what is missing.")
        if backend["key"] == BOOTSTRAP_KEY:
            raise Refused(f"{self.backend_file} names the state of bootstrap, {BOOTSTRAP_KEY}. Use a key of its own.")
        return backend

    @property
    def state_key(self) -> str:
        """The key of its state in the state bucket."""
        return str(self._backend["key"])

    @property
    def region(self) -> str:
        """The region of its resources and its state. Raises Refused when the two differ."""
        region, of_state = self.variable("region"), self._backend["region"]
        if region != of_state:
            raise Refused(
                f"{self.name} is in {region}, and {self.backend_file} looks for its state in {of_state}. "
                f"Set region to the same in {self.variables_file} and in {self.backend_file}."
            )
        return region

    @property
    def accounts(self) -> set[str]:
        """The accounts that its entries may be deployed to. Empty: any. Raises Refused when one is not an account."""
        accounts = {str(entry["account_id"]) for entry in self.entries.values() if (entry or {}).get("account_id")}
        if not all(re.fullmatch("[0-9]{12}", account) for account in accounts):
            raise Refused(f"account_id in {self.variables_file} is not an AWS account. Use its 12 digits in quotes.")
        return accounts

    def state_bucket(self, account: str) -> str:
        """Return the name of the bucket that holds the state, which is different for every fork and account."""
        return f"{self.project_name}-tfstate-{account}-{self.region}"

    def _refuse_collisions(self) -> None:
        """Raise Refused when another environment, in what may be the same account, has the same state or entry."""
        for name in names():
            if name == self.name or self.name == "local":
                continue
            try:
                settings = read(ROOT / f"env/{name}.tfvars")
                other = Environment(name, settings)
                apart = self.accounts and other.accounts and not self.accounts & other.accounts
                apart = apart or self.project_name != other.project_name or self.region != other.region
                same_key, same = self.state_key == other.state_key, sorted(self.entries.keys() & other.entries.keys())
            except Refused:
                continue  # a fault in the other one is reported when a command works on that
            if not apart and same_key:
                raise Refused(
                    f"{self.backend_file} and {other.backend_file} name the same state, {self.state_key}. "
                    "Give each environment a key of its own."
                )
            if not apart and same:
                raise Refused(
                    f"{same[0]} is in {self.variables_file} and in {other.variables_file}, which would make resources "
                    "of the same names. Rename one of them."
                )


def backend_file(name: str) -> str:
    """Return the file that says where an environment's state is, relative to the repository."""
    return "env/backend.hcl" if name == "dev" else f"env/{name}-backend.hcl"


def names() -> list[str]:
    """Return the environments that env/ has files for."""
    return sorted(path.stem for path in (ROOT / "env").glob("*.tfvars") if path.stem not in NOT_ENVIRONMENTS)


def siblings(account: str) -> list[str]:
    """Return the environments in env/ that an account may hold."""
    everything = {name: Environment(name, read(ROOT / f"env/{name}.tfvars")) for name in names()}
    return [name for name, environment in everything.items() if environment.accounts <= {account}]


def holding(name: str) -> Environment:
    """Return the environment that a pipeline is in: the one of that name, or one with an entry of that name.

    Raises Refused when there is none.
    """
    if file := name if name in [*names(), "local"] else _file_with_entry(name):
        return Environment.read(file)
    raise Refused(f"unknown environment: {name}. env/ has {', '.join(names())}, and the entries in these.")


def _file_with_entry(name: str) -> str:
    """Return the name of the file that has an entry of a name, empty if none has."""
    entries = {file: read(ROOT / f"env/{file}.tfvars").get("environments") for file in names()}
    return next((file for file, found in entries.items() if isinstance(found, dict) and name in found), "")


def data_dir(root: Path = ROOT) -> Path:
    """Return where Terraform keeps its working data for a root module."""
    folder = ROOT / (os.environ.get("TF_DATA_DIR") or ".terraform")
    return folder.with_name(f"{folder.name}-bootstrap") if root == BOOTSTRAP else folder


def refuse_other_sources() -> None:
    """Raise Refused when Terraform would read settings that the commands do not."""
    if (workspace := os.environ.get("TF_WORKSPACE", "default")) not in ("", "default"):
        raise Refused(
            f"TF_WORKSPACE is {workspace}, which has a state of its own. An environment is a file in env/ here: "
            "unset TF_WORKSPACE."
        )
    for name, value in os.environ.items():
        if name.startswith("TF_CLI_ARGS") and (odd := _contradicting(value)):
            raise Refused(f"{name} adds {odd} to the options of Terraform. Unset {name}; settings belong in env/.")
    given = sorted(name.removeprefix("TF_VAR_") for name in os.environ if name.startswith("TF_VAR_"))
    if given:
        known = declared(ROOT / "variables.tf").keys() | declared(BOOTSTRAP / "variables.tf").keys()
        if set(given) & known:
            name = min(set(given) & known)
            raise Refused(f"TF_VAR_{name} is set, and only Terraform would read it. Unset it, and set {name} in env/.")
    for root in (ROOT, BOOTSTRAP):
        for pattern, what in FOUND_BY_NAME.items():
            for path in sorted(root.glob(pattern)):
                raise Refused(
                    f"{path.relative_to(ROOT)} {what} for Terraform alone. Move its content into env/ or into the "
                    "code, and delete it."
                )
        selected = data_dir(root) / "environment"
        if selected.exists() and (workspace := selected.read_text().strip()) not in ("", "default"):
            raise Refused(
                f"the workspace {workspace} is selected, which has a state of its own. Go back: "
                f"rm {shlex.quote(str(selected))}"
            )


def _contradicting(options: str) -> str:
    """Return the first Terraform option that may change what is done, empty if there is none."""
    try:
        words = shlex.split(options)
    except ValueError:
        return options
    return next((word for word in words if word.lstrip("-").partition("=")[0] not in HARMLESS), "")
