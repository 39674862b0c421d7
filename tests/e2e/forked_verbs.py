"""Run verbs as ./deploy.sh does, each in a process of its own.

Reads a line of JSON for each from its standard input: the outputs of the pipeline to work on, null if the verb is to
find it itself; arguments, environment, and the files for output and errors. Answers with a line, the exit code. Forks
for each: to load boto3 and what it reads about AWS's services again would take longer than the work.
"""

import functools
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from commands import __main__ as cli
from commands import environment, state
from commands.aws import Account
from commands.state import Pipeline

# What the verbs call, and so read about.
SERVICES: tuple[Any, ...] = ("cloudwatch", "ec2", "iam", "kms", "lambda", "logs", "s3", "sqs", "sts", "xray")


def run(outputs: dict[str, Any] | None, arguments: list[str], variables: dict[str, str], files: list[str]) -> int:
    """Run a verb in this process; return its exit code."""
    os.environ.clear()
    os.environ.update(variables)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY), number)
    if outputs is not None:
        pipeline = Pipeline.from_outputs("dev", "dev", outputs, Account(boto3.Session(), "000000000000"))
        environment.holding = lambda name: environment.Environment(name, {})
        state.find_pipeline = lambda *_: pipeline
    return cli.main(arguments)


for module in Path("scripts/commands/operate").glob("*.py"):
    importlib.import_module(f"commands.operate.{module.stem}")
botocore.session.create_loader = functools.cache(botocore.session.create_loader)
session = boto3.Session(region_name="us-east-1")
for service in SERVICES:
    session.client(service)
for line in sys.stdin:
    if not (process := os.fork()):
        sys.exit(run(*json.loads(line)))
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
