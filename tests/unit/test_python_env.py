"""The virtual environments that deploy.sh and tests/run.sh make: what the requirements file pins, and nothing else."""

import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

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


# In the place of Python's own venv: copies an environment that it made, which takes a tenth of the time.
QUICK_VENV = """
import shutil, sys
*options, folder = sys.argv[1:]
if options == ["--clear"]:
    shutil.rmtree(folder)
shutil.copytree({!r}, folder, symlinks=True)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment that was made with Python's own venv; nothing is installed."""
    index = tmp_path_factory.mktemp("made") / "index"
    index.mkdir()
    run = install(index, "")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", announcement(index))
    (index.parent / "env/installed.txt").unlink()
    return index.parent / "env"


@pytest.fixture
def index(tmp_path: Path, made: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "venv.py").write_text(QUICK_VENV.format(str(made)))
    return folder


def install(index: Path, requirements: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Call python_env, with the folder as the only index."""
    (index / "requirements.txt").write_text(requirements)
    script = f'. scripts/lib.sh; PYTHON={sys.executable}; python_env "$1" "$2"'
    command = ["bash", "-euc", script, "bash", str(index.parent / "env"), str(index / "requirements.txt")]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(index.parent),
        "PYTHONPATH": str(index),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": "/dev/null",
    }
    return subprocess.run(command, cwd=ROOT, env=environment | settings, capture_output=True, text=True, check=False)


def installed(index: Path) -> set[str]:
    return {path.name for path in (index.parent / "env").glob("lib/*/site-packages/*.dist-info")}


def announcement(index: Path) -> str:
    return f"Installing {index / 'requirements.txt'} into {index.parent / 'env'}\n"


def test_a_newer_version_of_a_pinned_package_changes_nothing(index: Path) -> None:
    plugin = add_wheel(index, "plugin", "1.0", "Requires-Dist: base[toml]>=1")
    base = add_wheel(index, "base", "1.0", "Provides-Extra: toml")
    add_wheel(index, "base", "2.0", "Provides-Extra: toml")
    run = install(index, base + plugin)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", announcement(index))
    assert {"base-1.0.dist-info", "plugin-1.0.dist-info"} <= installed(index)
    run = install(index, base + plugin)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")  # nothing to do


def test_an_incomplete_file_is_refused(index: Path) -> None:
    plugin = add_wheel(index, "plugin", "1.0", "Requires-Dist: base>=1")
    for _ in range(2):  # and again, until it is fixed
        run = install(index, plugin)
        assert run.returncode == 1
        announced, line = run.stderr.splitlines()
        assert announced == announcement(index).rstrip()
        assert line.startswith("error: ")
        assert "plugin 1.0 requires base, which is not installed" in line
        assert "CONTRIBUTING.md" in line
    assert install(index, plugin + add_wheel(index, "base", "1.0")).returncode == 0


def test_leftovers_of_an_earlier_version_do_not_matter(index: Path) -> None:
    old = add_wheel(index, "old", "1.0", "Requires-Dist: base<2")
    assert install(index, old + add_wheel(index, "base", "1.0")).returncode == 0
    run = install(index, add_wheel(index, "base", "2.0"))
    assert (run.returncode, run.stderr) == (0, announcement(index))
    assert "base-2.0.dist-info" in installed(index)


def settings_of_a_user(index: Path) -> dict[str, str]:
    """pip settings that would put the project's packages elsewhere, or prevent their installation."""
    elsewhere, constraints = str(index.parent / "elsewhere"), index / "constraints.txt"
    constraints.write_text("base>1\n")
    return {
        "PIP_USER": "1",
        "PIP_PREFIX": elsewhere,
        "PIP_TARGET": elsewhere,
        "PIP_ROOT": elsewhere,
        "PIP_PYTHON": "/nowhere/python",
        "PIP_CONSTRAINT": str(constraints),
        "PIP_REQUIREMENT": "/nowhere/requirements.txt",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_DRY_RUN": "1",
        "PIP_NO_BINARY": ":all:",
        "PIP_ONLY_BINARY": ":none:",
        "PIP_PLATFORM": "win32",
        "PIP_PRE": "1",
        "PIP_REPORT": str(index.parent / "report.json"),
    }


def test_other_settings_of_the_user_change_nothing(index: Path) -> None:
    run = install(index, add_wheel(index, "base", "1.0"), **settings_of_a_user(index))
    assert (run.returncode, run.stderr) == (0, announcement(index))
    assert "base-1.0.dist-info" in installed(index)
    assert {path.name for path in index.parent.iterdir()} <= {"index", "env", ".cache"}


def test_a_configuration_file_of_the_user_changes_nothing_but_the_index(index: Path) -> None:
    base = add_wheel(index, "base", "1.0")
    settings = settings_of_a_user(index)
    written = {"user": "true", "dry-run": "true", "no-binary": ":all:", "constraint": settings["PIP_CONSTRAINT"]}
    written |= {"find-links": str(index), "no-index": "true"}
    file = index / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in written.items()))
    run = install(index, base, PIP_CONFIG_FILE=str(file), PIP_FIND_LINKS="", PIP_NO_INDEX="")
    assert (run.returncode, run.stderr) == (0, announcement(index))
    assert "base-1.0.dist-info" in installed(index)


def test_pips_message_is_shown_above_cause_and_remedy(index: Path) -> None:
    requirements = add_wheel(index, "base", "1.0")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "1", "NO_PROXY": "127.0.0.1"}
    run = install(index, requirements, PIP_NO_INDEX="", PIP_FIND_LINKS="", **nowhere)
    said = run.stderr.splitlines()
    assert run.returncode == 1
    assert any("Connection refused" in line for line in said)
    assert said[-1] == (
        f"error: pip could not install {index / 'requirements.txt'}; its message is above. Fix the cause, most "
        "often the access to the package index, then run this again."
    )
    add_wheel(index, "base", "1.0", "Summary: another one")
    run = install(index, requirements)
    said = run.stderr.splitlines()
    assert run.returncode == 1
    assert any("DO NOT MATCH THE HASHES" in line for line in said)
    assert said[-1] == (
        f"error: pip could not install {index / 'requirements.txt'}; its message is above. Ask whoever runs your "
        "package index, or compile that file again, as CONTRIBUTING.md says."
    )


def test_a_python_that_cannot_make_environments(index: Path) -> None:
    (index / "venv.py").unlink()  # Python's own is called here
    (index.parent / "env").write_text("a file in its place")
    run = install(index, add_wheel(index, "base", "1.0"))
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        f"error: Python cannot make a virtual environment in {index.parent / 'env'}; its message is above. If it lacks "
        "ensurepip, install its venv package (Debian: python3.12-venv)."
    )
    assert "env" in run.stderr.splitlines()[1]
