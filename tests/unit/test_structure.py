"""The structure of commands and tests: values are passed and no text is parsed back, and who may import what."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELL = [ROOT / name for name in ("deploy.sh", "scripts/lib.sh", "tests/run.sh", ".ci/run")]
MODULES = {
    ".".join(path.relative_to(ROOT / "scripts").with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "scripts").rglob("*.py")
}


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, and the names that it takes from them, also for its types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or "."
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def imports(name: str) -> set[str]:
    """Return the modules of scripts/ that one of them imports."""
    return imported(MODULES[name]) & (MODULES.keys() - {"commands", "commands.operate", name})


def test_imports_are_not_circular() -> None:
    graph = {name: imports(name) for name in MODULES}
    assert "commands.terminal" in graph["commands.state"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{' imports '.join(reversed(error.args[1]))}")


def test_bash_is_short_and_evaluates_nothing() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in SHELL}
    assert lines["deploy.sh"] < 25
    assert sum(lines.values()) < 250, lines
    for path in SHELL:
        code = re.sub(r"(?m)^\s*#.*$", "", path.read_text())
        assert not re.search(r"\beval\b|<<'?PY|(?:PYTHON|python3?(?:\.12)?|candidate)\"? -c ", code), path


def test_only_the_entry_point_reads_the_command_line() -> None:
    for name, path in MODULES.items():
        if name.startswith("commands"):
            assert "sys.argv" not in path.read_text() or name == "commands.__main__", name


def test_no_test_file_and_no_conftest_is_imported() -> None:
    files = set((ROOT / "tests").rglob("*.py"))
    names = {path.stem for path in files if path.stem.startswith("test_")} | {"conftest"}
    assert "test_structure" in names
    for path in files:
        found = {name for name in imported(path) if names & set(name.split("."))}
        assert not found, f"{path} imports {found}; move what it needs into a file of its own"
