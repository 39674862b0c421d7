"""./deploy.sh verify ENV: ask AWS itself whether what this project claims holds for a deployed pipeline."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from commands.operate.claims import (
    CLAIMS,
    LOCAL_SECONDS,
    Answered,
    Claim,
    No,
    NotHere,
    NotYet,
    Patience,
    Trial,
    Unknown,
)
from commands.operate.errors import REFUSED, explain
from commands.terminal import (
    Interrupted,
    Progress,
    Refused,
    Stopped,
    count,
    on_signals,
    out,
    pause,
    printable,
    say,
    stop_at_safe_place,
    stop_now,
    stopping,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from commands.state import Pipeline

YES = "yes"
ANSWERS = (YES, No.says, NotYet.says, NotHere.says, Unknown.says)
SERVICES = ("s3", "sqs", "logs", "lambda", "cloudwatch", "iam", "xray", "ec2")
SETTLE_SECONDS = 5.0  # time for a file in process to finish
SWEEPS = 6
WIDTHS = (max(map(len, ANSWERS)), max(len(claim.text) for claim in CLAIMS))


class Answer(NamedTuple):
    """The outcome of a row. detail: AWS's answer, or the event that did not come; empty if the answer is yes."""

    says: str
    detail: str = ""


def verify(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Ask about every claim, print the answers, and remove what was uploaded. Returns 0 if all hold, else 1."""
    trial = Trial(pipeline, options.environment, f"verify-{uuid.uuid4()}", time.time())
    for service in SERVICES:
        pipeline.client(service)  # before there are threads
    say(
        f"Asking AWS about {pipeline.name}, for up to five minutes, with made-up files under {trial.folder}. Whoever "
        "is subscribed to its alarms or rejections gets messages about that."
    )
    left: list[str] = []
    try:
        answers = asked(trial)
    finally:
        left = cleaned(trial)
    report(trial, answers, left, as_json=options.json)
    return 0 if all(answer.says in (YES, NotHere.says) for answer in answers.values()) and not left else 1


def asked(trial: Trial) -> dict[Claim, Answer]:
    """Ask about every claim, in parallel except for those that need the main thread. Raises Interrupted."""
    progress, began = Progress("rows answered"), time.monotonic()
    with ThreadPoolExecutor(len(CLAIMS)) as pool:
        futures: dict[Claim, Future[Answer]] = {
            claim: pool.submit(ask, claim, trial) for claim in CLAIMS if not claim.alone
        }
        try:
            alone = {claim: ask_alone(claim, trial) for claim in CLAIMS if claim.alone}
            while waiting := wait(futures.values(), timeout=0.2).not_done:
                progress.show(len(CLAIMS) - len(waiting))
                pause(0)
            answers = alone | {claim: future.result() for claim, future in futures.items()}
        except BaseException:
            stopping.set()  # so that the other threads stop waiting
            raise
        finally:
            progress.clear()
    for claim in CLAIMS:
        if claim.at_the_end and answers[claim].says == YES:
            answers[claim] = answer_of(claim, trial, claim.at_the_end, trial)
    say(f"Asked in {time.monotonic() - began:.0f} s.")
    return {claim: answers[claim] for claim in CLAIMS}


def ask(claim: Claim, trial: Trial) -> Answer:
    """Ask about a claim, for as long as it may take."""
    seconds = LOCAL_SECONDS if claim.unseen(trial) else claim.seconds(trial)
    return answer_of(claim, trial, claim.ask, trial, Patience(seconds))


def answer_of(claim: Claim, trial: Trial, question: Any, *arguments: Any) -> Answer:
    """Return the answer to a question about a claim. Raises Interrupted, Stopped."""
    try:
        question(*arguments)
    except Answered as answered:
        found = Answer(answered.says, str(answered))
    except Refused as refused:
        found = Answer(Unknown.says, str(refused))
    except (ClientError, BotoCoreError) as error:
        found = Answer(Unknown.says, explain(error, trial.pipeline))
    else:
        return Answer(YES)
    return Answer(NotHere.says, found.detail) if claim.unseen(trial) else found


def ask_alone(claim: Claim, trial: Trial) -> Answer:
    """Ask about a claim with Terraform, which a signal stops immediately. Raises Interrupted."""
    on_signals(stop_now)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # its progress is not an answer
            return ask(claim, trial)
    except Stopped as stopped:
        stopping.number = stopped.number
        raise Interrupted from None
    finally:
        on_signals(stop_at_safe_place)


# --- remove what was uploaded -----------------------------------------------------------------------------------------


def cleaned(trial: Trial) -> list[str]:
    """Remove all versions of what this run has put into the buckets; return what had to stay, a line for each key."""
    pipeline, kept, refused = trial.pipeline, dict[str, str](), dict[str, str]()
    say("Removing what was uploaded.")
    try:
        for number in range(SWEEPS):
            if number:
                time.sleep(SETTLE_SECONDS)
            # Results first: if the function removed them with their source, that would leave a delete marker.
            buckets = (pipeline.processed, pipeline.rejected, pipeline.raw)
            if not sum(swept(trial, bucket, kept, refused) for bucket in buckets):
                break
    except BaseException:
        say(f"Stopped. The remaining files are under {trial.folder} in the buckets of {pipeline.name}.")
        raise
    for line in kept.values():
        say(line)
    for line in refused.values():
        say(line)
    return list(refused.values())


def swept(trial: Trial, bucket: str, kept: dict[str, str], refused: dict[str, str]) -> int:
    """Remove what is under the run's prefix in a bucket. Returns the number of deletions.

    Notes, by location, what stays: in `kept` what object lock retains, in `refused` what AWS refuses to delete. Both
    are hidden behind a delete marker.
    """
    s3, removed = trial.pipeline.s3, 0
    try:
        for key, versions, markers in listed(s3, bucket, trial.folder):
            where, stay = f"s3://{bucket}/{key}", list[str]()
            for version in versions:
                try:
                    s3.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
                    removed += 1
                except ClientError as error:
                    if error.response["Error"]["Code"] not in REFUSED:
                        raise
                    stay.append(version["VersionId"])
                    if until := locked_until(s3, bucket, key, version["VersionId"]):
                        kept[where] = f"Kept by object lock until {until}, hidden: {where}"
                    else:
                        refused[where] = f"Not removed: {where}. {explain(error)}"
            if not stay:
                for marker in markers:
                    s3.delete_object(Bucket=bucket, Key=key, VersionId=marker["VersionId"])
                    removed += 1
            elif not any(marker["IsLatest"] for marker in markers):
                s3.delete_object(Bucket=bucket, Key=key)
                removed += 1
    except (ClientError, BotoCoreError) as error:
        refused[bucket] = f"Not removed: s3://{bucket}/{trial.folder}. {explain(error, trial.pipeline)}"
    return removed


def listed(s3: Any, bucket: str, folder: str) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Yield each key under a prefix, with its versions and its delete markers."""
    found: dict[str, tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=folder):
        for number, kind in enumerate(("Versions", "DeleteMarkers")):
            for one in page.get(kind, []):
                found[one["Key"]][number].append(one)
    for key, (versions, markers) in found.items():
        yield key, versions, markers


def locked_until(s3: Any, bucket: str, key: str, version: str) -> str:
    """Return until when object lock retains a version, empty if it does not."""
    try:
        answer = s3.get_object_retention(Bucket=bucket, Key=key, VersionId=version)
    except ClientError:
        return ""
    return str(answer["Retention"]["RetainUntilDate"].date())


# --- report -----------------------------------------------------------------------------------------------------------


def report(trial: Trial, answers: dict[Claim, Answer], left: Iterable[str], *, as_json: bool) -> None:
    """Write each row, and then how many there are of each answer."""
    counts = Counter(answer.says for answer in answers.values())
    for claim, (says, detail) in answers.items():
        if as_json:
            out(row=claim.name, claim=claim.text, asked=claim.how, answer=says, detail=detail)
        else:
            print(f"{says:{WIDTHS[0]}}  {claim.text:{WIDTHS[1]}}  {claim.how}")
            if detail:
                print(f"{'':{WIDTHS[0]}}  {claim.name}: {printable(detail)}")
    if as_json:
        out(summary={says: counts[says] for says in ANSWERS}, left=list(left))
        return
    told = ", ".join(f"{counts[says]} {says}" for says in ANSWERS if counts[says])
    print(f"{count(len(answers), 'claim')} about {trial.pipeline.name}: {told}.")
    if bad := [claim.name for claim, answer in answers.items() if answer.says not in (YES, NotHere.says)]:
        say(f"What to do about {', '.join(bad)}: docs/verify.md")
