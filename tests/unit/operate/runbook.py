"""The runbook, docs/operations.md, and the two documents in its other pages that S3 takes."""

from __future__ import annotations

import json
import re

from commands.settings import ROOT

RUNBOOK = (ROOT / "docs/operations.md").read_text()
PAGES = "".join((ROOT / "docs" / page).read_text() for page in ("auditing.md", "reprocessing.md"))
INVENTORY, JOB = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGES, re.S))
