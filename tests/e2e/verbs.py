"""The verbs of ./deploy.sh that operate a pipeline, run on one of the pipelines that share a state."""

import json
import subprocess
from typing import Any

from commands.settings import ROOT
from pipeline import Pipeline


def run(pipeline: Pipeline, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb on a pipeline, as ./deploy.sh does."""
    return subprocess.run(
        [".venv/commands/bin/python", "tests/e2e/on_pipeline.py", json.dumps(pipeline.outputs), *arguments],
        cwd=ROOT,
        env=pipeline.aws.full_environment() | {"PYTHONPATH": "scripts"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def answer(pipeline: Pipeline, verb: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Run a verb with --json; return its exit code and its lines."""
    done = run(pipeline, verb, "--json", *options)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert done.stdout, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def audit(pipeline: Pipeline, *options: str) -> tuple[int, dict[str, str]]:
    """Audit the keys under operate/; return the exit code and the state of each key that is not processed."""
    code, lines = answer(pipeline, "audit", "--prefix", "operate/", "--in-flight", "0", *options)
    return code, {line["key"]: line["state"] for line in lines if "state" in line}
