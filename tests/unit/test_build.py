"""The packages: reproducible, complete, and what Terraform expects."""

import os
import shutil
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from commands.build import write_zip

ROOT = Path(__file__).resolve().parents[2]
BUILD = ("-m", "commands", "build")


ALONE = """
from commands.build import ROOT, build
build(ROOT / "build", ["arm64"])
"""

pytestmark = pytest.mark.slow


def build(checkout: Path, *command: str, **environment: str) -> dict[str, str]:
    """Build in a copy of the project; return the packages' digests by name."""
    checkout.mkdir(parents=True)
    for name in ("scripts", "layers", "lambda_function.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    run = python(checkout, *(command or BUILD), **environment)
    assert run.returncode == 0, run.stderr
    made = digests(checkout)
    reported = [(line.split()[0], line.split()[-1]) for line in run.stdout.splitlines()]
    assert dict(reported) == made
    return made


def python(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a checkout as deploy.sh does."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout.parent,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout / "scripts"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build") / "here"
    build(folder)
    return folder


def digests(checkout: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted((checkout / "build").glob("*.zip"))}


def test_builds_in_different_folders_at_different_times_are_equal(checkout: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "a much longer name/there", PYTHONHASHSEED="7", TZ="Asia/Tokyo", LC_ALL="C")
    assert list(other) == ["function.zip", "layer-arm64.zip", "layer-x86_64.zip"]
    assert other == digests(checkout)


def test_a_layer_built_alone_equals_the_one_built_with_the_other(checkout: Path, tmp_path: Path) -> None:
    alone = build(tmp_path / "alone", "-c", ALONE)
    assert alone == {name: digest for name, digest in digests(checkout).items() if name != "layer-x86_64.zip"}


def test_a_changed_handler_changes_the_function_package_only(checkout: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(checkout, changed)
    with (changed / "lambda_function.py").open("a") as handler:
        handler.write("\n# changed\n")
    run = python(changed, *BUILD, PIP_NO_INDEX="1")  # the layers stand already
    assert run.returncode == 0, run.stderr
    before, after = digests(checkout), digests(changed)
    assert {name for name in before if before[name] != after[name]} == {"function.zip"}


def test_the_function_package_holds_the_handler_and_its_bytecode(checkout: Path) -> None:
    with zipfile.ZipFile(checkout / "build/function.zip") as package:
        assert package.namelist() == ["__pycache__/lambda_function.cpython-312.pyc", "lambda_function.py"]
        assert package.read("lambda_function.py") == (ROOT / "lambda_function.py").read_bytes()


@pytest.mark.parametrize(("architecture", "machine"), [("x86_64", "x86_64"), ("arm64", "aarch64")])
def test_a_layer_holds_the_packages_for_its_processor(checkout: Path, architecture: str, machine: str) -> None:
    with zipfile.ZipFile(checkout / f"build/layer-{architecture}.zip") as package:
        names = package.namelist()
    binaries = [name for name in names if name.endswith(".so")]
    assert binaries
    assert all(f"cpython-312-{machine}-linux" in name for name in binaries)
    assert all(name.startswith("python/") for name in names)
    modules = [name for name in names if name.endswith(".py")]
    compiled = {name for name in names if name.endswith(".cpython-312.pyc")}
    for module in modules:
        folder, _, name = module.rpartition("/")
        assert f"{folder}/__pycache__/{name[:-3]}.cpython-312.pyc" in compiled


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_bytecode_names_the_path_in_lambda_and_is_not_checked(checkout: Path, architecture: str) -> None:
    with zipfile.ZipFile(checkout / f"build/layer-{architecture}.zip") as package:
        bytecode = package.read("python/msgspec/__pycache__/__init__.cpython-312.pyc")
    assert bytecode[4:8] == b"\x01\x00\x00\x00", "PEP 552: hash-based, not checked against the source"
    assert b"/opt/python/msgspec/__init__.py" in bytecode


def test_a_package_whose_hash_differs_is_refused(checkout: Path, tmp_path: Path) -> None:
    tampered = tmp_path / "tampered"
    shutil.copytree(checkout, tampered)
    requirements = tampered / "layers/requirements.txt"
    lines = requirements.read_text().splitlines()
    requirements.write_text(
        "\n".join(
            f"{line[:-5]}00000"
            if "sha256" in line and line[-1] != "\\"
            else line[:-7] + "00000 \\"
            if "sha256" in line
            else line
            for line in lines
        )
    )
    run = python(tampered, *BUILD)
    assert (run.returncode, run.stdout) == (1, "")
    said = run.stderr.splitlines()
    assert any("DO NOT MATCH THE HASHES" in line for line in said)
    assert said[-1].startswith(
        "error: pip could not install layers/requirements.txt for x86_64; its message is above. "
    )
    assert not (tampered / "build/layer-x86_64.made-from").exists()  # so that the next build tries again


def test_pip_settings_for_other_work_change_nothing(checkout: Path, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    (tmp_path / "constraints.txt").write_text("msgspec<0.1\n")
    other = build(
        tmp_path / "there",
        "-c",
        ALONE,
        PIP_USER="1",
        PIP_PREFIX=elsewhere,
        PIP_TARGET=elsewhere,
        PIP_ROOT=elsewhere,
        PIP_PLATFORM="win32",
        PIP_CONSTRAINT=str(tmp_path / "constraints.txt"),
        PIP_REQUIRE_VIRTUALENV="1",
        PIP_DRY_RUN="1",
        PIP_NO_BINARY=":all:",
    )
    assert other == {name: digest for name, digest in digests(checkout).items() if name != "layer-x86_64.zip"}
    assert not Path(elsewhere).exists()


def test_two_builds_of_the_same_package_can_run_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins and ends while the first is writing."""
    folder, package = tmp_path / "folder", tmp_path / "build/function.zip"
    folder.mkdir()
    (folder / "module.py").write_text("ONE = 1\n")
    add = zipfile.ZipFile.writestr

    def build_another(archive: zipfile.ZipFile, *arguments: Any) -> None:
        monkeypatch.setattr(zipfile.ZipFile, "writestr", add)
        write_zip(folder, package)
        add(archive, *arguments)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", build_another)
    write_zip(folder, package)
    assert zipfile.ZipFile(package).namelist() == ["module.py"]
    assert list(package.parent.iterdir()) == [package]
