"""Prove what became of every upload, and send again what failed. ./deploy.sh calls it, one verb at a time.

Environment: PIPELINE, the outputs of one pipeline as JSON; without it they come from the state of ENV. AWS clients take
region, credentials and endpoint from the environment as usual. What a run knows lies on disk, in .local/operate/ where
it can be resumed, so that memory stays flat however many objects there are.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import account
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError
from operations import core
from operations.core import Interrupted, Pipeline, Problem, on_signal, say, stopping
from operations.verbs import audit, failures, logs, redrive, reprocess, status

if TYPE_CHECKING:
    from collections.abc import Callable

IN_FLIGHT_MINUTES = 15.0  # how long an upload may be under way before it counts as missing
RATE = 100.0  # objects per second that are sent again
WAIT_SECONDS = 300.0  # how long redrive waits for outcomes


def positive(text: str) -> float:
    """Return a number above 0. Raises ValueError."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def not_negative(text: str) -> float:
    """Return a number from 0 on. Raises ValueError."""
    return 0.0 if float(text) == 0 else positive(text)


def parser() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    top = argparse.ArgumentParser(prog="./deploy.sh", description="Operate a deployed environment.", allow_abbrev=False)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(run: Callable[[Pipeline, argparse.Namespace], int], description: str) -> argparse.ArgumentParser:
        name = run.__name__
        added = verbs.add_parser(
            name,
            usage=f"./deploy.sh {name} [ENV] [options]",
            description=description,
            help=description,
            allow_abbrev=False,
        )
        added.add_argument(
            "environment", nargs="?", default="dev", metavar="ENV", help="file in env/ or an entry of one; %(default)s"
        )
        added.set_defaults(run=run)
        return added

    def rate(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--rate", type=positive, default=RATE, metavar="N", help="objects per second to send, %(default)g"
        )

    as_json: dict[str, Any] = {"action": "store_true", "help": "one JSON object a line, the summary last"}
    resume: dict[str, Any] = {"action": "store_true", "help": "go on where the same command was stopped"}

    added = verb(
        audit, "Tell for every upload what became of it. The exit code is 0 when no result is missing or wrong."
    )
    added.add_argument("--json", **as_json)
    added.add_argument("--prefix", default="", metavar="P", help="only keys that begin with this")
    added.add_argument("--repair", action="store_true", help="send what is missing or wrong through the pipeline again")
    rate(added)
    added.add_argument("--deep", action="store_true", help="make every result again from its source and compare it")
    added.add_argument(
        "--inventory", default="", metavar="URI", help="s3://.../manifest.json of the raw bucket, not listings"
    )
    added.add_argument(
        "--in-flight", type=not_negative, default=IN_FLIGHT_MINUTES, metavar="MINUTES",
        help="how long an upload may be under way, %(default)g",
    )  # fmt: skip
    added.add_argument("--resume", **resume)

    verb(failures, "Show the failed events in the dead-letter queue, and leave them there.").add_argument(
        "--json", **as_json
    )

    added = verb(redrive, "Send failed events back, and tell what becomes of each object.")
    added.add_argument("--key", action="append", default=[], metavar="K", help="only this object; may be repeated")
    rate(added)
    added.add_argument("--dry-run", action="store_true", help="only show what would be sent back")
    added.add_argument(
        "--wait",
        type=not_negative,
        default=WAIT_SECONDS,
        metavar="SECONDS",
        help="for the outcomes, at most %(default)g",
    )
    added.add_argument("--json", **as_json)

    added = verb(reprocess, "Run existing raw objects through the pipeline again.")
    added.add_argument("--prefix", required=True, metavar="P", help="only keys that begin with this; '' for all")
    added.add_argument("--since", default="", metavar="T", help="only what was uploaded since: 7d, 12h, 2026-01-31")
    rate(added)
    added.add_argument("--resume", **resume)

    verb(status, "Show on one screen how the pipeline is.")

    added = verb(logs, "Follow the function's log, a line for each file.")
    added.add_argument("--since", default="10m", metavar="T", help="from when on: 10m, 2h, 2026-01-31; %(default)s")
    added.add_argument("--once", action="store_true", help="show what is there and stop")
    return top


# Error codes, which differ from service to service.
NO_KEY = {"KMS.AccessDeniedException", "KmsAccessDenied"}
REFUSED = {"403", "AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
UNKNOWN_CALLER = {"ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId"}
UNKNOWN_CALLER |= {"RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException"}
THROTTLED = {"503", "KmsThrottled", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "SlowDown"}
THROTTLED |= {"Throttling", "ThrottlingException", "TooManyRequestsException"}
ABSENT = {"NoSuchBucket", "ResourceNotFoundException", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
# What IAM calls these calls.
ACTIONS = {
    "GetBucketInventoryConfiguration": "s3:GetInventoryConfiguration",
    "GetObject": "s3:GetObject (and kms:Decrypt)",
    "HeadObject": "s3:GetObject (and s3:ListBucket)",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
    "SendMessageBatch": "sqs:SendMessage (and kms:GenerateDataKey)",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}


def explain(error: Exception) -> str:
    """Return cause and remedy of a call to AWS that failed, in one line."""
    if isinstance(error, ClientError):
        code, call = error.response["Error"]["Code"], error.operation_name
        if code in NO_KEY:
            return f"AWS refuses {call}. These credentials need kms:Decrypt (and kms:GenerateDataKey) on its key."
        if code in REFUSED:
            return f"AWS refuses {call}. These credentials need the permission {ACTIONS.get(call, call)}."
        if code in UNKNOWN_CALLER:
            return f"AWS does not accept the credentials ({code}). Log in again."
        if code in THROTTLED:
            return f"AWS throttles {call} and goes on so. Wait a little, or lower --rate, and run it again."
        if code in ABSENT:
            return f"{call} finds nothing ({code}). Was the environment destroyed? ./deploy.sh deploy makes it again."
        return f"{call} failed ({code}). Try again; if it stays, AWS says: " + error.response["Error"].get(
            "Message", ""
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError | SSOError | TokenRetrievalError):
        return "there are no AWS credentials. Log in, or set AWS_PROFILE."
    if isinstance(error, NoRegionError):
        return "there is no AWS region. Set AWS_REGION."
    if isinstance(error, AwsConnectionError | HTTPClientError):
        return f"AWS cannot be reached. Check network and region. ({error})"
    return str(error).partition("\n")[0]


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for. Returns the exit code."""
    options = parser().parse_args(arguments)
    stopping.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        given = os.environ.get("PIPELINE")
        outputs = json.loads(given) if given else account.pipeline(options.environment)
        return int(options.run(Pipeline.from_outputs(outputs), options))
    except Problem as problem:
        say(f"error: {problem}")
    except (ClientError, BotoCoreError) as error:
        say(f"error: {explain(error)}")
    except (Interrupted, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # somebody has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, sqlite3.Error) as error:  # a full disk, say
        say(f"error: {error}. What a run knows lies in {core.ROOT / '.local/operate'}.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
