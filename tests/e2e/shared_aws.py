"""The local AWS that most tests share, and ./deploy.sh as a person runs it there."""

import os
import socket
import subprocess
from typing import Any

import boto3
from commands.settings import ROOT
from local_aws.process import LocalAws

OUR_PROVIDERS = "TERRAFORM_PROVIDERS"  # the variable by which Terraform is attached to the tests' own providers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def client(aws: LocalAws, service: str, **credentials: str) -> Any:
    """Return a client of boto3. credentials: by variable, in place of those in aws.environment()."""
    environment = aws.environment() | credentials
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        verify=environment["AWS_CA_BUNDLE"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=environment.get("AWS_SESSION_TOKEN"),
    )


def as_a_person(aws: LocalAws) -> dict[str, str]:
    """Return the environment in which a person runs ./deploy.sh local, with one difference: the port."""
    environment = os.environ | {"LOCAL_AWS_PORT": str(aws.port)}
    environment.pop(OUR_PROVIDERS, None)
    return environment


def deploy(aws: LocalAws, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ./deploy.sh as a person would. Only `local` starts the provider itself, others are attached to the tests'."""
    attached = {name: value for name, value in os.environ.items() if name == OUR_PROVIDERS and arguments[0] != "local"}
    return subprocess.run(
        ["./deploy.sh", *arguments],
        cwd=ROOT,
        env=as_a_person(aws) | attached | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def processes_of(aws: LocalAws) -> list[str]:
    """Return the command lines of every process that belongs to this local AWS."""
    listing = subprocess.run(["ps", "-axww", "-o", "command="], capture_output=True, text=True, check=True).stdout
    marks = (f"127.0.0.1:{aws.port}", f".local/{aws.port}/")
    return [line for line in listing.splitlines() if any(mark in line for mark in marks)]
