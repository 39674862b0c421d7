"""Run a verb on a pipeline that is given by its outputs: on_pipeline.py OUTPUTS VERB [OPTION...]."""

import json
import sys

import boto3
from commands import __main__ as cli
from commands import environment, state
from commands.aws import Account
from commands.state import Pipeline

outputs = json.loads(sys.argv[1])
pipeline = Pipeline.from_outputs("dev", "dev", outputs, Account(boto3.Session(), "000000000000"))
environment.holding = lambda name: environment.Environment(name, {})
state.find_pipeline = lambda *_: pipeline
sys.exit(cli.main(sys.argv[2:]))
