"""The AWS provider, started once and attached to one Terraform command after another.

By itself, Terraform starts the provider for every command and decodes the schemas of all its 1,500 resource types.
With AWS on the same machine, that takes longer than the work. proxy.py avoids both.
https://developer.hashicorp.com/terraform/plugin/debugging describes how a provider is attached.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import python_env
from commands.settings import ROOT
from commands.terraform import locked_version

if TYPE_CHECKING:
    from collections.abc import Collection

ENVIRONMENT = ROOT / ".venv/provider"


@dataclass(frozen=True)
class Provider:
    """A provider that runs. attach: the value of TF_REATTACH_PROVIDERS that attaches Terraform to it."""

    process: subprocess.Popen[str]
    attach: str

    @classmethod
    def start(
        cls, executable: Path, types: Collection[str], *, root: Path, environment: dict[str, str], log: Path
    ) -> Provider:
        """Start a provider that knows these types, for a root module. Raises OSError, with where to look.

        The provider gets this environment, too. It reads files, such as a function's package, relative to root.
        """
        arguments = [str(executable), str(schemas_file(executable, types)), *sorted(types)]
        with log.open("a") as errors:
            process = subprocess.Popen(
                [ENVIRONMENT / "bin/python", "-P", "-m", "local_aws.provider.proxy", *arguments],
                cwd=root,
                env=environment | {"PYTHONPATH": str(ROOT / "scripts")},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for Terraform, which still needs the provider to save its state
            )
        provider = cls(process, process.stdout.readline().strip() if process.stdout else "")
        if not provider.attach:
            provider.stop()
            raise OSError(f"the provider did not start; {log} says why")
        return provider

    def stop(self) -> None:
        """Stop the provider, which serves until its standard input ends."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        self.process.wait()


def install() -> None:
    """Install what the proxy needs."""
    python_env.make(ENVIRONMENT, Path(__file__).with_name("requirements.txt"))


def types_in(*roots: Path) -> set[str]:
    """Return the types that root modules and their modules name."""
    files = [file for root in roots for pattern in ("*.tf", "modules/**/*.tf") for file in root.glob(pattern)]
    return {name for file in files for name in re.findall(r"\baws_[a-z0-9_]+", file.read_text())}


def schemas_file(executable: Path, types: Collection[str]) -> Path:
    """Return the file that keeps the schemas of these types: another one for another provider, or another selection."""
    made_from = [executable.name, *sorted(types), Path(__file__).with_name("schemas.py").read_text()]
    return ROOT / ".local/schemas" / sha256("\n".join(made_from).encode()).hexdigest()


def executable(data_dir: Path) -> Path | None:
    """Return the locked version of the provider in Terraform's working data, None if it is not installed there."""
    folder = data_dir / "providers/registry.terraform.io/hashicorp/aws" / locked_version()
    return next(folder.glob("*/terraform-provider-aws_*"), None)
