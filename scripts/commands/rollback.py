"""Let uploads start an earlier version of the function, without a build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from commands import smoke
from commands.aws import reason
from commands.terminal import Refused

if TYPE_CHECKING:
    import argparse

    from commands.state import Pipeline


def rollback(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Go back to a version, by default the one before the live one, and try it. Returns 0. Raises Refused."""
    move(pipeline, options.version)
    smoke.test(pipeline)
    return 0


def move(pipeline: Pipeline, wanted: str | None) -> None:
    """Point the alias to the version. Raises Refused when there is none, or the alias changes at the same time."""
    function, alias, functions = pipeline.function, pipeline.alias, pipeline.client("lambda")
    try:
        found = functions.get_alias(FunctionName=function, Name=alias)
        pages = functions.get_paginator("list_versions_by_function").paginate(FunctionName=function)
        published = [v for page in pages for v in page["Versions"] if v["Version"] != "$LATEST"]
        made = {int(v["Version"]): v["LastModified"][:16].replace("T", " ") for v in published}
        live = int(found["FunctionVersion"])
        version = choose(wanted, live, made)
        # With the revision, an alias that a deploy has moved meanwhile stays where it is.
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


def choose(wanted: str | None, live: int, made: dict[int, str]) -> int:
    """Return the version to go to, of those that were made. Raises Refused, with all of them, when there is none."""
    available = f"Available: {', '.join(f'{version} ({made[version]})' for version in sorted(made))}."
    if wanted is None:
        if earlier := [version for version in made if version < live]:
            return max(earlier)
        raise Refused(f"no version is older than {live}, which is live. Revert the commit and deploy. {available}")
    if wanted not in map(str, made) or wanted == str(live):
        raise Refused(f"cannot roll back to version {wanted}; version {live} stays live. {available}")
    return int(wanted)
