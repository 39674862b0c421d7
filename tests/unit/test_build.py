"""The packages: reproducible, complete, and what Terraform expects."""

import shutil
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def build(checkout: Path, *options: str, **environment: str) -> dict[str, str]:
    """Build in a copy of the project; return the packages' digests by name."""
    checkout.mkdir(parents=True)
    for name in ("scripts", "layers", "lambda_function.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    command = [sys.executable, "scripts/build.py", *options]
    run = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return digests(checkout)


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
    alone = build(tmp_path / "alone", "--architecture", "arm64")
    assert alone == {name: digest for name, digest in digests(checkout).items() if name != "layer-x86_64.zip"}


def test_a_changed_handler_changes_the_function_package_only(checkout: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(checkout, changed)
    with (changed / "lambda_function.py").open("a") as handler:
        handler.write("\n# changed\n")
    subprocess.run([sys.executable, "scripts/build.py"], cwd=changed, capture_output=True, check=True)
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
    run = subprocess.run(
        [sys.executable, "scripts/build.py"], cwd=tampered, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: pip could not install layers/requirements.txt for x86_64. ")
