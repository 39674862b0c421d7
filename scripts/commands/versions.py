"""The published versions of a function, and the networks that they run in."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from commands.aws import reason
from commands.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from commands.aws import Account

POLL_SECONDS = 5.0


def published(functions: Any, function: str) -> tuple[list[dict[str, Any]], str]:
    """Return the versions of a function, and the network that the newest configuration runs in, empty for none.

    functions: a client of Lambda. Raises ClientError, BotoCoreError.
    """
    pages = functions.get_paginator("list_versions_by_function").paginate(FunctionName=function)
    found = [version for page in pages for version in page["Versions"]]
    newest = next((network(version) for version in found if version["Version"] == "$LATEST"), "")
    return [version for version in found if version["Version"] != "$LATEST"], newest


def network(version: dict[str, Any]) -> str:
    """Return the ID of the network that a version runs in, empty for none."""
    return version.get("VpcConfig", {}).get("VpcId") or ""


@dataclass
class Leaving:
    """Networks that a plan removes, and the functions that may have versions in them, each with its alias.

    Lambda keeps a network interface while a published version can use it, and AWS keeps a network while an interface is
    in it (Lambda developer guide, "Deleting ENIs"). So these versions are deleted in the middle of the apply, once the
    alias points to a version that runs elsewhere.
    """

    networks: set[str]
    aliases: set[tuple[str, str]]
    _end: threading.Event = field(default_factory=threading.Event, init=False)

    @classmethod
    def in_plan(cls, plan: dict[str, Any]) -> Leaving:
        """Return what a saved plan removes."""
        changes = plan.get("resource_changes", [])
        networks = {
            change["change"]["before"]["id"]
            for change in changes
            if change["type"] == "aws_vpc" and "delete" in change["change"]["actions"]
        }
        aliases = {
            (change["change"]["before"]["function_name"], change["change"]["before"]["name"])
            for change in changes
            if change["type"] == "aws_lambda_alias" and change["change"]["before"]
        }
        return cls(networks, aliases)

    @contextlib.contextmanager
    def meanwhile(self, account: Account) -> Iterator[None]:
        """While the block runs, delete the versions that keep a network in use, and report those that cannot be."""
        if not self.networks:
            yield
            return
        say(
            f"Deleting {' and '.join(sorted(self.networks))}: AWS needs 20 to 45 minutes to remove the function's "
            "network interfaces. The function keeps working."
        )
        threads = [threading.Thread(target=self._delete, args=(account, *alias)) for alias in sorted(self.aliases)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _delete(self, account: Account, function: str, alias: str) -> None:
        """Wait until the live version is not in one of the networks, then delete those that are."""
        functions, ended = account.client("lambda"), False
        try:
            while not ended:
                ended = self._end.wait(POLL_SECONDS)
                live = functions.get_function_configuration(FunctionName=function, Qualifier=alias)
                if network(live) in self.networks:
                    continue
                versions, _ = published(functions, function)
                held = [version["Version"] for version in versions if network(version) in self.networks]
                for version in held:
                    functions.delete_function(FunctionName=function, Qualifier=version)
                if held:
                    say(f"Deleted the versions of {function} in the old network: {', '.join(held)}.")
        except functions.exceptions.ResourceNotFoundException:
            return  # deleted together with its network
        except (BotoCoreError, ClientError) as error:
            say(
                f"warning: the versions of {function} in the old network cannot be deleted: {reason(error)}. "
                "Delete them by hand, else AWS keeps the network: docs/security.md, The private network."
            )
