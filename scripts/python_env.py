"""Make a virtual environment with the pinned packages of a requirements file: python_env.py FOLDER REQUIREMENTS.

Runs on a bare Python 3.12, before anything is installed.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / ".local/python_env.lock"
# How the user's pip reaches a package index. All their other settings (a user install, a prefix, a target folder,
# constraints) are for their own packages: with them, ours would end up elsewhere or not at all.
INDEX_SETTINGS = {
    *("CACHE_DIR", "CERT", "CLIENT_CERT", "CONFIG_FILE", "DEFAULT_TIMEOUT", "EXTRA_INDEX_URL", "FIND_LINKS"),
    *("INDEX_URL", "KEYRING_PROVIDER", "NO_CACHE_DIR", "NO_INDEX", "PROXY", "RETRIES", "TIMEOUT", "TRUSTED_HOST"),
}
# Variables beat pip's configuration files, so these undo what the files may say. An empty value would not.
OWN_SETTINGS = {
    "PIP_CONSTRAINT": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_DRY_RUN": "0",
    "PIP_NO_BINARY": ":none:",
    "PIP_NO_INPUT": "1",
    "PIP_USER": "0",
}


def pip_environment() -> dict[str, str]:
    """Return the environment to run pip in: of the user's pip settings only those for the index, and our own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PIP_") or name.removeprefix("PIP_") in INDEX_SETTINGS
    }
    return kept | OWN_SETTINGS


def make(folder: Path, requirements: Path) -> None:
    """Make the environment unless it is there, or bring it up to date.

    The file names every package, so pip has nothing to resolve (--no-deps): some versions of pip fail on a pinned
    package that another one wants with an extra, once a newer version of it is out. A new environment is checked to be
    complete; an old one may hold leftovers.

    Raises SystemExit with cause and remedy.
    """
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two concurrent first runs, the second finds what the first has made
        _make(folder, requirements)


def _make(folder: Path, requirements: Path) -> None:
    python, installed = folder / "bin/python", folder / "installed.txt"
    is_new = not installed.exists()
    if not is_new and installed.read_bytes() == requirements.read_bytes():
        return
    print(f"Installing {requirements} into {folder}", file=sys.stderr)
    if is_new:
        # Clear what an interrupted installation left, and only then: other environments may be in subfolders.
        clear = ["--clear"] if python.exists() else []
        made = _run(sys.executable, "-m", "venv", *clear, str(folder))
        if made.returncode:
            sys.exit(
                f"{(made.stdout + made.stderr).strip()}\nerror: Python cannot make a virtual environment in {folder}; "
                "its message is above. If it lacks ensurepip, install its venv package (Debian: python3.12-venv)."
            )
    pip = [str(python), "-P", "-m", "pip"]
    result = _run(*pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(requirements))
    if result.returncode:
        wrong_hash = "DO NOT MATCH THE HASHES" in result.stderr
        sys.exit(
            f"{result.stderr.strip()}\nerror: pip could not install {requirements}; its message is above. "
            + (
                "Ask whoever runs your package index, or compile that file again, as CONTRIBUTING.md says."
                if wrong_hash
                else "Fix the cause, most often the access to the package index, then run this again."
            )
        )
    if is_new:
        missing = _run(*pip, "check")
        if missing.returncode:
            problems = "; ".join(missing.stdout.splitlines())
            sys.exit(f"error: {requirements} is not complete: {problems} Compile it again, as CONTRIBUTING.md says.")
    shutil.copy(requirements, installed)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=pip_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
