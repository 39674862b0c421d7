"""cloudsplaining, a scanner of IAM policies, on the role of a deployed function."""

import json
import subprocess
from pathlib import Path

from commands.settings import ROOT
from pipeline import Pipeline


def cloudsplaining(dev: Pipeline, folder: Path, *ignored: str) -> str:
    """Return what the scanner finds in the role, apart from actions to ignore."""
    names = dev.iam.list_role_policies(RoleName=dev.function)["PolicyNames"]
    policies = [dev.iam.get_role_policy(RoleName=dev.function, PolicyName=name)["PolicyDocument"] for name in names]
    statements = [statement for policy in policies for statement in policy["Statement"]]
    (folder / "policy.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    (folder / "ignored.json").write_text(json.dumps({"exclude-actions": list(ignored)}))  # which is YAML, too
    scanner = [str(ROOT / ".venv/scanners/bin/cloudsplaining"), "scan-policy-file"]
    files = ["--input-file", str(folder / "policy.json"), "--exclusions-file", str(folder / "ignored.json")]
    run = subprocess.run(scanner + files, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout
