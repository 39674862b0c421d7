"""The parts of the tests: what each runs, and the environments that it needs."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = (".venv", "tests/requirements.txt")
COMMANDS = (".venv/commands", "scripts/commands/requirements.txt")
LOCAL_AWS = (".venv/local-aws", "scripts/local_aws/requirements.txt")
SCANNERS = (".venv/scanners", "tests/scan/requirements.txt")
MUTANTS = (".venv/mutants", "tests/mutants/requirements.txt")
BENCH = (".venv/bench", "tests/bench/requirements.txt")
NEWEST = (".venv/newest", "tests/newest/requirements.txt")
OLDEST_SDK = (".venv/oldest-sdk", "tests/oldest_sdk/requirements.txt")

LOGS = ROOT / ".local/tests"
DATA_DIR, BOOTSTRAP_DATA_DIR = ROOT / ".local/tests-terraform", ROOT / ".local/tests-bootstrap"
NEWEST_DATA_DIR, NEWEST_BOOTSTRAP_DATA_DIR = ROOT / ".local/newest-terraform", ROOT / ".local/newest-bootstrap"
PYTHON_FILES = (
    "lambda_function.py schemas/generate.py docs/generate.py docs/picture.py scripts tests/prose.py tests/bench "
    "tests/controls tests/e2e tests/mutants tests/newest tests/policies tests/runner tests/unit"
)
SHELL_FILES = "deploy.sh tests/run.sh scripts/lib.sh .ci/run"
# One more than there are processors: some of what the tests call waits.
WORKERS = f"--numprocesses {1 + (os.cpu_count() or 1)}"
SCHEMA = "check-jsonschema --quiet --builtin-schema vendor"


@dataclass(frozen=True)
class Part:
    """One part. commands: of a shell, run in turn up to the first that fails; quick: those of the quick loop, if any.

    environments: folder and requirements of each.
    """

    name: str
    summary: str
    commands: list[str]
    quick: list[str] = field(default_factory=list)
    environments: tuple[tuple[str, str], ...] = ()

    @property
    def is_pytest(self) -> bool:
        """Whether it is one call of pytest."""
        return next(word for word in self.commands[0].split() if "=" not in word) == "pytest"

    @property
    def times(self) -> Path:
        """Where pytest notes how long each test took."""
        return LOGS / f"{self.name}.xml"

    def with_options(self, options: list[str]) -> Part:
        """Return the part with options of pytest. A selection of tests is not held to the coverage of all."""
        if not self.is_pytest:
            return self
        (command,) = self.commands
        words = [word for word in shlex.split(command) if not (options and word.startswith("--cov"))]
        return replace(self, commands=[shlex.join([*words, f"--junit-xml={self.times}", *options])])


def by_name(*parts: Part) -> dict[str, Part]:
    """Return parts by their names."""
    return {part.name: part for part in parts}


def side_by_side(*commands: str) -> str:
    """Return a shell command that runs some at the same time, and prints the output of each in turn."""
    logs = [f'"$logs/{number}"' for number in range(len(commands))]
    start = [f"{{ {command}; }} > {log} 2>&1 & pids+=($!)" for command, log in zip(commands, logs, strict=True)]
    end = [f'wait "${{pids[{number}]}}" || failed=1; cat {log}' for number, log in enumerate(logs)]
    return "\n".join(["logs=$(mktemp -d) pids=() failed=''", *start, *end, 'rm -r "$logs"; [ -z "$failed" ]'])


class Terraform:
    """Shell commands of Terraform about both root modules and the modules, with their working data in two folders."""

    def __init__(self, data_dir: Path, bootstrap_data_dir: Path) -> None:
        root = f"TF_DATA_DIR={shlex.quote(str(data_dir))} terraform"
        bootstrap = f"TF_DATA_DIR={shlex.quote(str(bootstrap_data_dir))} terraform -chdir=bootstrap"
        init = "init -backend=false -input=false -lockfile=readonly -no-color"
        self.init = [f"{root} {init} -test-directory=tests/terraform", f"{bootstrap} {init}"]
        self.validate = [f"{root} validate -no-color", f"{bootstrap} validate -no-color"]
        self.root_tests = f"{root} test -no-color -test-directory=tests/terraform"
        self.bootstrap_tests = f"{bootstrap} test -no-color"
        self.names_tests = f"{self.root_tests} -filter=tests/terraform/names.tftest.hcl"
        modules = []
        for name in sorted(folder.parent.name for folder in ROOT.glob("modules/*/tests")):
            module = f"TF_DATA_DIR={shlex.quote(str(data_dir / name))} terraform -chdir=modules/{name}"
            modules.append(f"{module} {init} >/dev/null && {module} test -no-color")
        self.module_tests = " && ".join(modules)

    @property
    def tests(self) -> list[str]:
        """All tests."""
        validation = "-filter=tests/terraform/validation.tftest.hcl"
        return [self.module_tests, f"{self.names_tests} {validation} && {self.bootstrap_tests}"]

    @property
    def quick_tests(self) -> list[str]:
        """Names, modules and policies."""
        return [self.module_tests, f"{self.names_tests} && {self.bootstrap_tests} -filter=tests/policies.tftest.hcl"]


REQUESTS = "pytest tests/policies --quiet"
TERRAFORM = Terraform(DATA_DIR, BOOTSTRAP_DATA_DIR)
NEWEST_TERRAFORM = Terraform(NEWEST_DATA_DIR, NEWEST_BOOTSTRAP_DATA_DIR)
STATIC = [
    "terraform fmt -check -diff -recursive",
    *TERRAFORM.validate,
    "ruff format --check",
    "ruff check",
    f"mypy {PYTHON_FILES}",
    "python tests/prose.py",
    f"shellcheck --external-sources {SHELL_FILES}",
    f"shfmt --diff --indent 2 --case-indent {SHELL_FILES}",
    "zizmor --offline --persona auditor --strict-collection --no-ignores --quiet .github",
    f"{SCHEMA}.github-workflows .github/workflows/*.yml",
    f"{SCHEMA}.github-actions .github/actions/*/action.yml",
    f"{SCHEMA}.dependabot .github/dependabot.yml",
]

# What runs without a name.
PARTS = by_name(
    Part("static", "formats, linters, types, workflows, wording", STATIC, quick=STATIC),
    Part(
        "terraform",
        "terraform test: names, modules, validation; and requests put to the policies as rendered",
        [side_by_side(*TERRAFORM.tests, REQUESTS)],
        quick=[side_by_side(*TERRAFORM.quick_tests, REQUESTS)],
        environments=(LOCAL_AWS,),
    ),
    Part(
        "unit",
        "the handler and the commands, on moto",
        [f"pytest tests/unit {WORKERS} --cov --cov-report=term-missing:skip-covered --cov-fail-under=98"],
        quick=[f"pytest tests/unit {WORKERS} -m 'not slow'"],
        environments=(OLDEST_SDK,),
    ),
    Part(
        "scan",
        "checkov on the Terraform",
        [
            "BC_SKIP_MAPPING=TRUE .venv/scanners/bin/checkov --directory . --framework terraform --quiet --compact "
            "--skip-path .local --skip-path .venv --skip-path tests"
        ],
        environments=(SCANNERS,),
    ),
    Part(
        "e2e",
        "the whole pipeline on the local AWS",
        ["pytest tests/e2e --numprocesses auto --verbose"],  # tests/e2e/conftest.py says how many
        environments=(LOCAL_AWS, SCANNERS),
    ),
)
OTHERS = by_name(
    Part(
        "controls",
        "takes each security control away in a copy and expects its tests to turn red",
        ["PYTHONPATH=scripts:tests/runner python tests/controls/break_controls.py"],
        environments=(LOCAL_AWS,),
    ),
    Part(
        "policies",
        "changes each policy as rendered bit by bit and expects the requests put to it to tell; a minute",
        ["PYTHONPATH=scripts:tests/runner python tests/policies/mutate.py"],
        environments=(LOCAL_AWS,),
    ),
    Part(
        "mutants",
        "changes the handler bit by bit in a copy and expects the unit tests to turn red; about an hour",
        [".venv/mutants/bin/python tests/mutants/run.py"],
        environments=(MUTANTS,),
    ),
    Part(
        "newest",
        "terraform test on the newest Terraform that PyPI has; the .tf files against version 6 of the provider",
        [
            'export TERRAFORM="$PWD/tests/newest/terraform.py" PATH="$PWD/.venv/newest/bin:$PATH" PYTHONPATH=scripts',
            *NEWEST_TERRAFORM.init,
            "terraform version",
            side_by_side(*NEWEST_TERRAFORM.tests),
            f"python tests/newest/version_6.py {shlex.quote(' && '.join(NEWEST_TERRAFORM.validate))}",
        ],
        environments=(NEWEST,),
    ),
    Part(
        "chaos",
        "12,000 uploads while everything goes wrong: nothing is lost; up to an hour",
        ["CHAOS=5000 pytest tests/e2e/test_chaos.py -s"],
        environments=(LOCAL_AWS,),
    ),
    Part(
        "scale",
        "audit, redrive and reprocess of 100,000 objects: flat memory, interrupted and resumed; hours",
        ["AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test SCALE=100000 pytest tests/unit/operate/test_scale.py -s"],
        environments=(LOCAL_AWS,),
    ),
    Part(
        "bench",
        "speed and memory of the handler beside other ways to do its work, the capacity model, and its older self; "
        "25 to 35 minutes",
        [
            ".venv/bench/bin/python tests/bench/run.py",
            "PYTHONPATH=.:scripts:scripts/planning .venv/bench/bin/python tests/bench/model.py",
            ".venv/bench/bin/python tests/bench/versions.py",
            ".venv/bench/bin/python tests/bench/find.py",
        ],
        environments=(LOCAL_AWS, BENCH),
    ),
)
