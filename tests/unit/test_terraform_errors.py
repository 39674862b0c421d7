"""What Terraform's errors are taken for, as Terraform 1.11 words them."""

import subprocess
import sys
from pathlib import Path

import pytest
import terraform_errors

SCRIPT = Path(terraform_errors.__file__)
LOCKED = """\
╷
│ Error: Error acquiring the state lock
│
│ Error message: operation error S3: PutObject, https response error StatusCode: 412, api error PreconditionFailed
│ Lock Info:
│   ID:        3f2a7c1e-0000-4000-8000-123456789abc
│   Path:      bucket/dev/terraform.tfstate
│   Operation: OperationTypeApply
│   Who:       ada@laptop
│   Version:   1.11.4
│   Created:   2026-08-01 07:30:00.541012683 +0000 UTC
│   Info:
╵
"""
COLOURED = LOCKED.replace("│", "\x1b[31m│\x1b[0m \x1b[0m").replace(
    "Error:", "\x1b[1m\x1b[31mError: \x1b[0m\x1b[0m\x1b[1m"
)
SAID = (
    "is locked by ada@laptop since 2026-08-01 07:30:00 UTC (OperationTypeApply). Wait for that to end. "
    "If it has died: ./deploy.sh unlock dev 3f2a7c1e-0000-4000-8000-123456789abc"
)
REFUSED = "Error: Error acquiring the state lock\n\nError message: operation error S3: PutObject, AccessDenied\n"
OTHER = f"Error: creating SQS Queue: AccessDenied\n\n{LOCKED[LOCKED.index('│   ID') :]}"
STALE = "╷\n│ Error: Saved plan is stale\n│ \n│ The given plan file can no longer be applied because\n╵\n"


@pytest.mark.parametrize(
    ("errors", "target", "verb", "meaning"),
    [
        (LOCKED, "dev", "deploy", f"dev {SAID}"),
        (COLOURED, "dev", "deploy", f"dev {SAID}"),
        (LOCKED, "bootstrap", "bootstrap", f"bootstrap {SAID} --bootstrap"),
        (REFUSED, "dev", "deploy", ""),
        (OTHER, "dev", "deploy", ""),
        ("", "dev", "deploy", ""),
        (
            STALE,
            "dev",
            "deploy",
            "the plan for dev is out of date, as the state has changed since; nothing was done. "
            "Plan anew: ./deploy.sh deploy dev",
        ),
    ],
    ids=["locked", "in colour", "bootstrap locked", "lock refused", "something else", "nothing", "stale"],
)
def test_meaning(errors: str, target: str, verb: str, meaning: str) -> None:
    run = subprocess.run(
        [sys.executable, SCRIPT, target, verb, "dev"], input=errors, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == ((1, "", f"error: {meaning}\n") if meaning else (0, "", ""))
