"""Make uploads invoke an earlier version of the function, without a build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from commands import smoke
from commands.aws import reason
from commands.terminal import Refused
from commands.versions import network, published

if TYPE_CHECKING:
    import argparse

    from commands.state import Pipeline


def rollback(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Roll back, by default to the one before the live version, and smoke-test it. Returns 0. Raises Refused."""
    move(pipeline, options.version)
    smoke.test(pipeline)
    return 0


def move(pipeline: Pipeline, wanted: str | None) -> None:
    """Point the alias to the version. Raises Refused when there is none, or the alias changes at the same time."""
    function, alias, functions = pipeline.function, pipeline.alias, pipeline.client("lambda")
    try:
        found = functions.get_alias(FunctionName=function, Name=alias)
        versions, current = published(functions, function)
        live = int(found["FunctionVersion"])
        left = {v["Version"]: network(v) for v in versions if network(v) not in ("", current)}
        made = {
            int(v["Version"]): v["LastModified"][:16].replace("T", " ")
            for v in versions
            if v["Version"] not in left or int(v["Version"]) == live
        }
        if wanted and wanted in left and int(wanted) != live:
            raise Refused(
                f"cannot roll back to version {wanted}: it runs in the network {left[wanted]}, which {pipeline.name} "
                f"has left. Version {live} stays live. {available(made)}"
            )
        version = choose(wanted, live, made)
        # With the revision ID, an alias that a deploy has moved meanwhile is left alone.
        functions.update_alias(
            FunctionName=function, Name=alias, FunctionVersion=str(version), RevisionId=found["RevisionId"]
        )
    except (BotoCoreError, ClientError) as error:
        remedy = "Check your permissions, then run this again."
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "PreconditionFailedException":
            remedy = (
                "The alias changed at the same time. See which version is live, then roll back again if needed: "
                f"./deploy.sh status {pipeline.name}"
            )
        raise Refused(f"{function} was not rolled back: {reason(error)}. {remedy}") from None
    print(f"{function} now runs version {version} of {made[version]}, in place of version {live}.")
    print("The next deploy brings the newest code back: revert the commit before it.", flush=True)


def available(made: dict[int, str]) -> str:
    """Return the versions that can be rolled back to, with the time when each was made."""
    return f"Available: {', '.join(f'{version} ({made[version]})' for version in sorted(made))}."


def choose(wanted: str | None, live: int, made: dict[int, str]) -> int:
    """Return the version to roll back to. Raises Refused, with all that are available, when there is none."""
    if wanted is None:
        if earlier := [version for version in made if version < live]:
            return max(earlier)
        raise Refused(
            f"no version is older than {live}, which is live. Revert the commit and deploy. {available(made)}"
        )
    if wanted not in map(str, made) or wanted == str(live):
        raise Refused(f"cannot roll back to version {wanted}; version {live} stays live. {available(made)}")
    return int(wanted)
