"""Let uploads start an earlier version of the function: rollback.py [VERSION], by default the one before the present.

PIPELINE in the environment is the pipeline, as `terraform output -json pipelines` describes it.
"""

import json
import os
import sys

import boto3
from account import reason
from botocore.exceptions import BotoCoreError, ClientError


def main() -> None:
    """Point the alias to the version. Raises SystemExit when there is none, or somebody else has moved the alias."""
    pipeline = json.loads(os.environ["PIPELINE"])
    function, alias = pipeline["lambda_function_name"], pipeline["function_alias"]
    functions = boto3.client("lambda")
    try:
        found = functions.get_alias(FunctionName=function, Name=alias)
        pages = functions.get_paginator("list_versions_by_function").paginate(FunctionName=function)
        published = [v for page in pages for v in page["Versions"] if v["Version"] != "$LATEST"]
        made = {int(v["Version"]): v["LastModified"][:16].replace("T", " ") for v in published}
        now = int(found["FunctionVersion"])
        version = choose(sys.argv[1] if sys.argv[1:] else None, now, made)
        # With the revision, an alias that a deploy has moved meanwhile stays where it is.
        functions.update_alias(
            FunctionName=function, Name=alias, FunctionVersion=str(version), RevisionId=found["RevisionId"]
        )
    except (BotoCoreError, ClientError) as error:
        remedy = "Check your permissions and repeat."
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "PreconditionFailedException":
            remedy = "Somebody has moved it at this moment: look at what runs now, and repeat if it still has to go."
        sys.exit(f"error: {function} was not rolled back: {reason(error)}. {remedy}")
    print(f"{function} runs version {version} of {made[version]} now, and no longer {now}.")
    print("The next deploy goes forward to the newest code: revert the commit before it.")


def choose(wanted: str | None, now: int, made: dict[int, str]) -> int:
    """Return the version to go to, of those that were made. Raises SystemExit, with all of them, when it is none."""
    there_is = ", ".join(f"{version} ({made[version]})" for version in sorted(made))
    if wanted is None:
        if earlier := [version for version in made if version < now]:
            return max(earlier)
        sys.exit(
            f"error: there is no version before {now}, which runs now. Revert the commit and deploy. "
            f"There is: {there_is}."
        )
    if wanted not in map(str, made) or wanted == str(now):
        sys.exit(
            f"error: {wanted} is not a version to go to; {now} runs now, and nothing was changed. There is: {there_is}."
        )
    return int(wanted)


if __name__ == "__main__":
    main()
