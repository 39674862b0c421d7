"""The verbs of ./deploy.sh that operate a pipeline, run on one of the pipelines that share a state."""

import functools
import json
import os
import subprocess
import tempfile
from typing import Any

from commands.settings import ROOT
from local_aws.process import LocalAws
from pipeline import Pipeline


@functools.cache
def forks() -> subprocess.Popen[str]:
    """Start the process that forks for each verb; it ends with this one."""
    return subprocess.Popen(
        [".venv/commands/bin/python", "tests/e2e/forked_verbs.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "scripts"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(pipeline: Pipeline, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb on a pipeline, as ./deploy.sh does."""
    return _fork(pipeline.outputs, arguments, pipeline.aws.full_environment() | environment)


def run_on(aws: LocalAws, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb, as ./deploy.sh does, on a pipeline that it has to find itself."""
    return _fork(None, arguments, aws.full_environment() | environment)


def _fork(
    outputs: dict[str, Any] | None, arguments: tuple[str, ...], variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
        process = forks()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps([outputs, arguments, variables, [output.name, errors.name]]) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())


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
