"""The virtual environments that deploy.sh and tests/run.sh make: what the requirements file pins, and nothing else."""

import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def add_wheel(index: Path, name: str, version: str, *metadata: str) -> str:
    """Put an empty package into a folder of packages; return the line that pins it."""
    wheel = index / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata, ""]
        archive.writestr(f"{info}/METADATA", "\n".join(lines))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}=={version} --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


def install(index: Path, requirements: str) -> subprocess.CompletedProcess[str]:
    """Call python_env, with the folder as the only index."""
    (index / "requirements.txt").write_text(requirements)
    script = f'. scripts/lib.sh; PYTHON={sys.executable}; python_env "$1" "$2"'
    command = ["bash", "-euc", script, "bash", str(index.parent / "env"), str(index / "requirements.txt")]
    environment = {
        "PATH": "/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": "/dev/null",
    }
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def installed(index: Path) -> set[str]:
    return {path.name for path in (index.parent / "env").glob("lib/*/site-packages/*.dist-info")}


def test_a_newer_version_of_a_pinned_package_changes_nothing(index: Path) -> None:
    plugin = add_wheel(index, "plugin", "1.0", "Requires-Dist: base[toml]>=1")
    base = add_wheel(index, "base", "1.0", "Provides-Extra: toml")
    add_wheel(index, "base", "2.0", "Provides-Extra: toml")
    run = install(index, base + plugin)
    assert (run.returncode, run.stderr) == (0, "")
    assert {"base-1.0.dist-info", "plugin-1.0.dist-info"} <= installed(index)
    assert install(index, base + plugin).stdout == ""  # nothing to do


def test_an_incomplete_file_is_refused(index: Path) -> None:
    plugin = add_wheel(index, "plugin", "1.0", "Requires-Dist: base>=1")
    for _ in range(2):  # and again, until it is mended
        run = install(index, plugin)
        assert run.returncode == 1
        (line,) = run.stderr.splitlines()
        assert line.startswith("error: ")
        assert "plugin 1.0 requires base, which is not installed" in line
        assert "CONTRIBUTING.md" in line
    assert install(index, plugin + add_wheel(index, "base", "1.0")).returncode == 0


def test_what_an_earlier_version_left_does_not_matter(index: Path) -> None:
    old = add_wheel(index, "old", "1.0", "Requires-Dist: base<2")
    assert install(index, old + add_wheel(index, "base", "1.0")).returncode == 0
    run = install(index, add_wheel(index, "base", "2.0"))
    assert (run.returncode, run.stderr) == (0, "")
    assert "base-2.0.dist-info" in installed(index)
