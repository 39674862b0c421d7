"""A checkout in a temporary folder, as far as the commands look at it: env/, variables.tf and the lock file."""

import shutil
from pathlib import Path

import pytest
from commands import environment, settings

ROOT = Path(__file__).resolve().parents[2]
MODULES = (settings, environment)


def backend(name: str, region: str = "us-east-1") -> str:
    return f'key = "{name}/terraform.tfstate"\nregion = "{region}"\nencrypt = true\nuse_lockfile = true\n'


def make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make one with a good dev, let the commands work in it, and return its env/."""
    (folder / "env").mkdir()
    (folder / "bootstrap").mkdir()
    for name in ("variables.tf", "bootstrap/variables.tf", ".terraform.lock.hcl"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "env/dev.tfvars").write_text("environments = { dev = {} }")
    (folder / "env/backend.hcl").write_text(backend("dev"))
    (folder / "env/bootstrap.tfvars").write_text("")
    for module in MODULES:
        monkeypatch.setattr(module, "ROOT", folder)
    monkeypatch.setattr(environment, "BOOTSTRAP", folder / "bootstrap")
    for name in ("TF_DATA_DIR", "TF_WORKSPACE", "TF_CLI_ARGS", "TF_CLI_ARGS_init"):
        monkeypatch.delenv(name, raising=False)
    return folder / "env"
