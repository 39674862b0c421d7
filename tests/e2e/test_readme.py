"""The README's three ways to deploy, each followed to the letter in a fresh clone and an empty account."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from accounts import PATIENTS, SAMPLE, Account, empty_account, fresh_copy
from commands.settings import ROOT
from github_runner import Pushed


def commands(heading: str, *, in_part: str = "") -> list[str]:
    """Return the shell commands under a heading of the README, block by block."""
    return re.findall(r"^```(?:bash|sh)\n(.*?)^```", section(heading, in_part=in_part), re.MULTILINE | re.DOTALL)


def section(heading: str, *, in_part: str = "") -> str:
    """Return what stands between a heading of the README and the next one, whatever its level."""
    path, lines, found, is_code = [""], [], False, False
    for line in (ROOT / "README.md").read_text().splitlines(keepends=True):
        is_code ^= line.startswith("```")
        title = None if is_code else re.fullmatch(r"(#+) (.*)\n", line)
        if title:
            path = [*path[: len(title[1])], title[2]]
        elif path[-1] == heading and in_part in path:
            lines.append(line)
            found = True
    assert found, f"the README has no section {heading!r}"
    return "".join(lines)


PART = "Deploy to AWS"
BEFORE = commands(PART)  # what has to be done first, whatever the way


def follow(way: str, account: Account, folder: Path) -> list[str]:
    """Type the commands of a way; return what each block prints. Stops at the first command that fails."""
    environment, printed = account.environment(), list[str]()
    first = environment  # of the first block
    blocks = BEFORE + commands(way, in_part=PART)
    is_newcomer = way == "By deploy.sh"
    copy = fresh_copy(folder, installed=not is_newcomer)
    if is_newcomer:  # has nothing installed; and, for the first command, Terraform starts the provider as everybody's
        first = {name: value for name, value in environment.items() if name != "TERRAFORM_PROVIDERS"}
        blocks = [command for block in blocks for command in block.splitlines()]
    for block in blocks:
        run = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", block],
            cwd=copy,
            env=environment if printed else first,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{block}\n{run.stdout}\n{run.stderr}"
        printed.append(run.stdout)
        if f"cp {SAMPLE}" in block:
            account.process_sample()  # "a moment later", says the README
    return printed


Followed = Callable[[str], tuple[Account, list[str]]]


@pytest.fixture(scope="module")
def followed(pushed: Pushed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    """Follow the ways side by side, while the push runs: Terraform mostly waits."""
    ways = ("By deploy.sh", "By hand")
    folders = {way: tmp_path_factory.mktemp("clone") for way in ways}
    with empty_account() as one, empty_account() as other, ThreadPoolExecutor() as pool:
        accounts = dict(zip(ways, (one, other), strict=True))
        runs: dict[str, Future[list[str]]] = {
            way: pool.submit(follow, way, accounts[way], folders[way]) for way in ways
        }
        yield lambda way: (accounts[way], runs[way].result())


def test_by_deploy_sh(followed: Followed) -> None:
    account, _ = followed("By deploy.sh")
    results: dict[str, Any] = account.process_sample()
    environments = {re.sub(r"(-)?processed-data-.*", "", bucket) for bucket in results}
    assert environments == {"ikerian-data-pipeline", "ikerian-data-pipeline-prod"}
    assert all(records == PATIENTS for records in results.values())


def test_by_hand(followed: Followed) -> None:
    account, printed = followed("By hand")
    ((raw, processed),) = account.pipelines()
    uploaded = account.client("s3").list_objects_v2(Bucket=raw)["Contents"]
    assert [item["Key"] for item in uploaded] == [SAMPLE]
    assert account.sample_result(processed) == PATIENTS
    assert json.loads(printed[-1]) == PATIENTS


def test_by_github(pushed: Pushed) -> None:
    assert set(pushed.runs) == {"test", "deploy-dev"}
    assert pushed.runs["deploy-dev"].status == 0, pushed.runs["deploy-dev"].output
    assert list(pushed.account.process_sample().values()) == [PATIENTS]
