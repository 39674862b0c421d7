"""A clone has the same bytes everywhere, even if git is set to convert line ends to those of Windows."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# One of each kind. Scripts with CRLF do not start, and packages and pinned requirements get other hashes.
FILES = (
    ".ci/run",
    ".github/workflows/deploy.yml",
    ".terraform.lock.hcl",
    "README.md",
    "deploy.sh",
    "docs/burst.svg",
    "env/dev.tfvars",
    "ikerian_sample.json",
    "lambda_function.py",
    "layers/requirements.txt",
    "main.tf",
)


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder with nobody's settings: not the user's, not the machine's, not those of a hook around it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *author, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


def test_a_clone_has_lf_even_if_git_is_set_to_crlf(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    for name in (".gitattributes", *FILES):
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, origin / name)
    committed = {name: (origin / name).read_bytes() for name in FILES}
    assert [name for name, content in committed.items() if b"\r" in content or b"\n" not in content] == []
    git(origin, "init", "--quiet", "--template=")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message=All")
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "--quiet", "origin", "clone")
    assert [name for name in FILES if (tmp_path / "clone" / name).read_bytes() != committed[name]] == []
