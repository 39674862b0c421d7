"""How the commands are built: values are passed, no text is parsed back, and imports have no circle."""

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


def imports(name: str) -> set[str]:
    """Return the modules of scripts/ that a module imports, at its top or later, for its work or for its types."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found & (MODULES.keys() - {"commands", "commands.operate", name})


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
