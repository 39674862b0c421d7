"""Both environments deployed into an empty account. The time that it takes is printed, not asserted."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from accounts import empty_account, fresh_copy
from by_hand import BOTH, UNSUPPORTED


def test_both_environments_come_up_in_an_empty_account(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    copy = fresh_copy(tmp_path)
    (copy / "backend.tf").unlink()  # the time is that of the environments, not of a state bucket
    (copy / "both.auto.tfvars.json").write_text(json.dumps(UNSUPPORTED | {"environments": BOTH}))
    with empty_account() as account:

        def terraform(*arguments: str) -> str:
            run = subprocess.run(
                ["terraform", *arguments],
                cwd=copy,
                env=account.environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert run.returncode == 0, run.stdout + run.stderr
            return run.stdout

        terraform("init", "-input=false", "-lockfile=readonly")
        began = time.monotonic()
        terraform("apply", "-input=false", "-auto-approve")
        seconds = time.monotonic() - began
        assert set(json.loads(terraform("output", "-json", "pipelines"))) == set(BOTH)
        account.process_sample()
    record_property("dev and prod applied from nothing, seconds", round(seconds))
