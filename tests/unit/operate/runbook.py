"""The runbook, docs/operations.md, and the two documents in it that S3 takes."""

from __future__ import annotations

import json
import re

from commands.settings import ROOT

RUNBOOK = (ROOT / "docs/operations.md").read_text()
INVENTORY, JOB = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", RUNBOOK, re.S))
