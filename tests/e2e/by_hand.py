"""Terraform by hand, without deploy.sh, on the local AWS that most tests share."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from commands.settings import ROOT
from local_aws.process import LocalAws
from pipeline import Pipeline

BOTH = {
    "dev": {},
    "prod": {
        "ingestion": "queue",
        "maximum_concurrency": 3,  # fewer than the local AWS would start, or a burst would show nothing
        "noncurrent_version_days": 90,
        "stale_results": "remove",
    },
}
UNSUPPORTED = {"saved_queries": False, "request_metrics": False}  # by the local AWS, as env/local.tfvars says
PRIVATE = {"private_network": {"availability_zones": ["us-east-1a", "us-east-1b"]}}


def terraform(aws: LocalAws, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Terraform by hand, as --keep's exports allow."""
    run = subprocess.run(
        ["terraform", *arguments], cwd=ROOT, env=aws.full_environment(), capture_output=True, text=True, check=False
    )
    assert not check or run.returncode == 0, run.stdout + run.stderr
    return run


def pipelines(aws: LocalAws) -> dict[str, Pipeline]:
    outputs = json.loads(terraform(aws, "output", "-json", "pipelines").stdout)
    return {name: Pipeline(aws, output) for name, output in outputs.items()}


def variables(aws: LocalAws, environments: Mapping[str, object]) -> str:
    """Return the option that gives Terraform these environments."""
    path = aws.folder / "environments.tfvars.json"
    path.write_text(json.dumps(UNSUPPORTED | {"environments": environments}))
    return f"-var-file={path}"


def changes(aws: LocalAws, *arguments: str) -> tuple[Path, dict[str, list[str]]]:
    """Plan; return the saved plan and its actions on each resource that it changes."""
    plan = aws.folder / "test.tfplan"
    terraform(aws, "plan", "-input=false", f"-out={plan}", *arguments)
    planned = json.loads(terraform(aws, "show", "-json", str(plan)).stdout).get("resource_changes", [])
    actions = {change["address"]: change["change"]["actions"] for change in planned}
    return plan, {address: action for address, action in actions.items() if action not in (["no-op"], ["read"])}


def is_false_drift(address: str) -> bool:
    """Return whether the local AWS does not return every setting of this resource."""
    return ".aws_cloudwatch_metric_alarm." in address
