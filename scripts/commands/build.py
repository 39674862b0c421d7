"""Build the packages of function and layer: function.zip, layer-x86_64.zip and layer-arm64.zip.

Equal inputs give equal bytes, on any machine and in any folder: names are sorted, times and modes fixed, and bytecode
carries the path that the file has in Lambda. So a second plan is empty, and dev and prod get the same artifact.

Bytecode is compiled in because Lambda's disk is read-only: without it Python compiles every module at every cold start.
"""

import hashlib
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

from python_env import pip_environment

from commands.settings import ROOT
from commands.terminal import Refused, say

REQUIREMENTS = ROOT / "layers" / "requirements.txt"
PIP_PLATFORMS = {"x86_64": "manylinux2014_x86_64", "arm64": "manylinux2014_aarch64"}
# pip's records of its own run. Like its launchers, they are useless in Lambda and differ between machines.
PIP_NOTES = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the zip format allows
ZIP_MODE = 0o100644 << 16


def install(target: Path, architecture: str, *, for_this_machine: bool) -> None:
    """Install the pinned packages into target, as Lambda needs them or as this machine does.

    Raises Refused, after pip's own message, when pip fails.
    """
    pip = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-warn-conflicts"]  # with what is installed for the commands: the packages are not for here
    pip += ["--no-compile", "--require-hashes", "--only-binary=:all:", "--target", str(target), "-r", str(REQUIREMENTS)]
    if not for_this_machine:
        pip += ["--python-version", "3.12", "--implementation", "cp", "--platform", PIP_PLATFORMS[architecture]]
    result = subprocess.run(pip, env=pip_environment(), capture_output=True, text=True, check=False)
    if result.returncode:
        say(result.stderr.strip())
        raise Refused(
            f"pip could not install layers/requirements.txt for {architecture}; its message is above. "
            "Fix the cause, most often the access to the package index, then run this again."
        )
    shutil.rmtree(target / "bin", ignore_errors=True)
    for note in PIP_NOTES:
        for path in target.glob(f"*.dist-info/{note}"):
            path.unlink()


def add_bytecode(folder: Path, lambda_path: str, mode: py_compile.PycInvalidationMode) -> None:
    """Compile every module below folder; tracebacks will name the file below lambda_path, where Lambda unpacks it."""
    for source in sorted(folder.rglob("*.py")):
        py_compile.compile(
            str(source),
            dfile=f"{lambda_path}/{source.relative_to(folder).as_posix()}",
            invalidation_mode=mode,
            doraise=True,
        )


def write_zip(folder: Path, package: Path) -> None:
    """Write every file below folder to package."""
    package.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=package.parent) as unfinished:  # another build may run at the same time
        written = Path(unfinished) / package.name
        with zipfile.ZipFile(written, "w") as archive:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), ZIP_TIME)
                entry.external_attr = ZIP_MODE
                entry.create_system = 3  # Unix, whatever machine this is
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
        written.replace(package)


def build_function(output: Path) -> Path:
    """Build function.zip from lambda_function.py; return it."""
    package = output / "function.zip"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "lambda_function.py", folder)
        # Checked, because code edited in the Lambda console must take precedence over the bytecode.
        add_bytecode(Path(folder), "/var/task", py_compile.PycInvalidationMode.CHECKED_HASH)
        write_zip(Path(folder), package)
    return package


def build_layer(output: Path, architecture: str, *, for_this_machine: bool) -> Path:
    """Build layer-<architecture>.zip from layers/requirements.txt, unless it is up to date; return it."""
    package = output / f"layer-{architecture}.zip"
    inputs = [REQUIREMENTS.read_bytes(), Path(__file__).read_bytes(), sys.version.encode(), bytes([for_this_machine])]
    made_from = hashlib.sha256(b"".join(inputs)).hexdigest()
    stamp = package.with_suffix(".made-from")
    if package.exists() and stamp.exists() and stamp.read_text() == made_from:
        return package
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        modules = Path(folder) / "python"
        install(modules, architecture, for_this_machine=for_this_machine)
        add_bytecode(modules, "/opt/python", py_compile.PycInvalidationMode.UNCHECKED_HASH)
        write_zip(Path(folder), package)
    stamp.write_text(made_from)
    return package


def build(
    output: Path,
    architectures: Collection[str] = tuple(PIP_PLATFORMS),
    *,
    for_this_machine: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Build the packages, and report each with its size and SHA-256. Raises Refused.

    for_this_machine: whether they are to run here, not in Lambda.
    """
    packages = [build_function(output)]
    packages += [build_layer(output, each, for_this_machine=for_this_machine) for each in architectures]
    for package in packages:
        content = package.read_bytes()
        report(f"{package.name}  {len(content):,} bytes  sha256 {hashlib.sha256(content).hexdigest()}")
