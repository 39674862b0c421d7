"""Let uploads start the function's version before the present one.

PIPELINE in the environment is the pipeline, as `terraform output -json pipelines` describes it.
"""

import json
import os
import sys

import boto3
from account import reason
from botocore.exceptions import BotoCoreError, ClientError


def main() -> None:
    """Point the alias to the version before. Raises SystemExit when there is none."""
    pipeline = json.loads(os.environ["PIPELINE"])
    function, alias = pipeline["lambda_function_name"], pipeline["function_alias"]
    functions = boto3.client("lambda")
    try:
        now = functions.get_alias(FunctionName=function, Name=alias)["FunctionVersion"]
        pages = functions.get_paginator("list_versions_by_function").paginate(FunctionName=function)
        versions = [int(v["Version"]) for page in pages for v in page["Versions"] if v["Version"] != "$LATEST"]
        earlier = [version for version in versions if version < int(now)]
        if not earlier:
            sys.exit(
                f"error: version {now} is the first one, so there is none to go back to. Revert the commit, deploy."
            )
        functions.update_alias(FunctionName=function, Name=alias, FunctionVersion=str(max(earlier)))
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"error: {function} was not rolled back: {reason(error)}. Check your permissions and repeat.")
    print(f"{function} runs version {max(earlier)} again, and no longer {now}.")
    print("The next deploy goes forward to the newest code: revert the commit before it.")


if __name__ == "__main__":
    main()
