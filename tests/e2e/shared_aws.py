"""The local AWS that most tests share, and ./deploy.sh as a person runs it there."""

import os
import socket
import subprocess
from typing import Any

import boto3
from commands.settings import ROOT
from local_aws.process import LocalAws


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


def as_a_person(aws: LocalAws, *, attached: bool = False) -> dict[str, str]:
    """Return the environment in which a person runs ./deploy.sh local, with one difference: the port.

    attached: with the tests' own providers, which nobody else has.
    """
    environment = os.environ | {"LOCAL_AWS_PORT": str(aws.port)}
    if not attached:
        environment.pop("TERRAFORM_PROVIDERS", None)
    return environment


def deploy(aws: LocalAws, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ./deploy.sh as a person would. Only `local` starts the provider itself, others are attached to the tests'."""
    return subprocess.run(
        ["./deploy.sh", *arguments],
        cwd=ROOT,
        env=as_a_person(aws, attached=arguments[0] != "local") | environment,
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
