"""The verbs that operate a pipeline. Each takes the pipeline and options, and returns an exit code."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from commands.operate.audit import FAULTS, REPAIRABLE, Finding, examine, looked_at, note, report, settle
from commands.operate.ledger import Ledger, ledger_path
from commands.operate.listing import Inventory, Row, listed
from commands.operate.log import LATE_SECONDS, LOG_PAGE, OUTCOMES, log_lines, note_failures, outcomes
from commands.operate.objects import head
from commands.operate.queues import (
    BATCH,
    RUN,
    Failed,
    Pace,
    dead_letters,
    depth,
    failed_objects,
    notification,
    remove,
    send,
)
from commands.operate.verdicts import standing
from commands.state import Pipeline
from commands.terminal import Interrupted, Progress, Refused, count, iso, moment, out, pause, printable, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence


BATCH_BYTES = 200_000  # SQS takes 256 KiB in one call
POLL_SECONDS = 2.0
STOPS = (Interrupted, ClientError, BotoCoreError, Refused)  # what ends a run early
STATUS_SECONDS = 20.0  # how long status reads the log
LISTED = 10_000  # keys that status looks at


def audit(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Compare raw with processed. Returns 0 when nothing is missing, stale or tampered with, else 1."""
    kept = ledger_path("audit", pipeline.raw, options.prefix, options.inventory, options.deep)
    ledger = Ledger(kept, options.resume)
    up_to = ""
    if options.inventory:
        inventory = Inventory.at(pipeline, options.inventory, options.prefix)
        up_to = iso(inventory.made)
        say(f"The inventory was made at {up_to}. Later uploads are not looked at.")
        rows = inventory.rows(pipeline, ledger, options.prefix)
    else:
        rows = listed(pipeline, options.prefix, ledger.get("after", ""))
    if done := ledger.get("done", 0):
        say(f"Resuming after {count(done, 'object')}.")
    try:
        examine(pipeline, ledger, rows, options.deep)
        counts = settle(pipeline, ledger, options.in_flight * 60, options.deep)
        waiting = depth(pipeline, pipeline.ingestion)
    except STOPS:
        if done := ledger.get("done", 0):
            say(f"Stopped after {count(done, 'object')}. To resume, run the same command with --resume.")
        raise
    report(ledger, counts, up_to, options.json)
    faults = sum(counts[state] for state in FAULTS)
    repairable = ledger.one(f"select count(*) from found where {REPAIRABLE}")  # noqa: S608
    if waiting:
        say(f"{count(waiting, 'event')} in the ingestion queue may be about objects listed above.")
    if of_rejected := ledger.one(f"select count(*) from found where verdict = 'tampered' and not ({REPAIRABLE})"):  # noqa: S608
        say(f"To be deleted by hand, as docs/restoring.md says: {count(of_rejected, 'result')} of rejected files.")
    if archived := counts["archived"]:
        say(f"To be restored from the archive first, as docs/operations.md says: {count(archived, 'upload')}.")
    if not ledger.get("done", 0):
        say(f"Nothing in s3://{pipeline.raw}/{options.prefix}: nothing to compare.")
    elif not faults:
        say(f"Every upload up to {up_to} is accounted for." if up_to else "Every upload is accounted for.")
    elif repairable and options.repair:
        keys = ledger.keys(f"select key from found where {REPAIRABLE}", ledger.get("sent_up_to", ""))  # noqa: S608
        total = send_again(pipeline, ledger, ((page, page[-1]) for page in itertools.batched(keys, 1000)), options.rate)
        say(f"Sent {count(total, 'object')} through the pipeline again. Then check: ./deploy.sh audit {pipeline.name}")
    elif repairable:
        say(f"To send {count(repairable, 'object')} through the pipeline again, run the same command with --repair.")
    if options.remove_orphans:
        try:
            removed = remove_orphans(pipeline, ledger)
        except STOPS:
            say("Stopped while deleting results. To resume, run the same command with --resume.")
            raise
        say(f"Deleted {count(removed, 'orphaned result')}.")
    ledger.finish()
    return 1 if faults else 0


def remove_orphans(pipeline: Pipeline, ledger: Ledger) -> int:
    """Delete the results that were found to have no source. Returns how many. Older versions stay recoverable.

    If a source is uploaded at the same time, its result may have been deleted, so the source is sent again.
    """
    removed = 0
    for key in ledger.keys("select key from found where verdict = 'orphaned'"):
        pause(0)
        if not key.endswith(".json"):  # the function did not write it
            say(f"Not deleted, as the pipeline did not make it: {printable(key)}")
            continue
        if head(pipeline, pipeline.raw, key):
            continue
        pipeline.s3.delete_object(Bucket=pipeline.processed, Key=key)
        removed += 1
        if head(pipeline, pipeline.raw, key):
            send(pipeline, [notification(pipeline.raw, key)])
    return removed


def send_again(pipeline: Pipeline, ledger: Ledger, pages: Iterable[tuple[Sequence[str], str]], rate: float) -> int:
    """Send events about the raw objects after the last one in the ledger. Returns the total number sent.

    pages: keys, and the key up to which everything is done once they are sent. Raises Interrupted.
    """
    pace, progress, total = Pace(rate), Progress("objects sent"), ledger.get("sent", 0)

    def reached(key: str) -> None:
        ledger.put(sent=total, sent_up_to=key)
        ledger.db.commit()
        progress.show(total, key)

    try:
        for keys, last in pages:
            for batch in itertools.batched(keys, BATCH):
                send(pipeline, [notification(pipeline.raw, key) for key in batch])
                total += len(batch)
                reached(batch[-1])
                pace.keep(len(batch))
            reached(last)
            pause(0)
    except STOPS:
        progress.clear()
        if ledger.get("sent_up_to"):
            say(f"Stopped after sending {count(total, 'object')}. To resume, run the same command with --resume.")
        raise
    finally:
        progress.clear()
    return int(total)


def reprocess(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Send the raw objects that were uploaded since a time through the pipeline again. Returns 0."""
    ledger = Ledger(ledger_path("reprocess", pipeline.raw, options.prefix, options.since), options.resume)
    after = ledger.get("sent_up_to", "")
    since = ledger.get("since") or moment(options.since or "1970-01-01")
    if after:
        say(f"Resuming after {count(ledger.get('sent'), 'object')}, at {printable(after)}.")
    ledger.put(since=since)
    listing = pipeline.s3.get_paginator("list_objects_v2").paginate(
        Bucket=pipeline.raw, Prefix=options.prefix, **({"StartAfter": after} if after else {})
    )
    pages = (
        (
            [
                item["Key"]
                for item in page["Contents"]
                if item["Key"].endswith(".json") and item["LastModified"].timestamp() >= since
            ],
            page["Contents"][-1]["Key"],
        )
        for page in listing
        if page.get("Contents")
    )
    total = send_again(pipeline, ledger, pages, options.rate)
    ledger.finish()
    say(f"Sent {count(total, 'object')} through the pipeline." if total else "There are no such objects.")
    return 0


COPY_BYTES = 5 * 1024**3  # the largest object that S3 copies in one request
COPY_PART_BYTES = 512 * 1024**2


def restore(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Bring back an upload that was deleted, or an older version of one. Returns 0. Raises Refused."""
    key = options.key
    if options.version is not None:
        copy_version(pipeline, key, options.version)
        print(f"{printable(key)} has the content of version {options.version} again, as a new upload.")
        return 0
    restored = False
    while marker := newest_delete_marker(pipeline, key):
        pipeline.s3.delete_object(Bucket=pipeline.raw, Key=key, VersionId=marker)
        restored = True
    if not restored:
        raise Refused(
            f"{printable(key)} is not deleted, or its versions are gone. To bring an older version back, add --version."
        )
    try:
        send(pipeline, [notification(pipeline.raw, key)])  # S3 sends none when a delete marker is removed
    except BaseException:
        say(f"{printable(key)} is no longer deleted. To process it: ./deploy.sh audit {pipeline.name} --repair")
        raise
    print(f"{printable(key)} is no longer deleted, and was sent through the pipeline.")
    return 0


def newest_delete_marker(pipeline: Pipeline, key: str) -> str:
    """Return the version ID of the delete marker that hides an upload with versions, empty if there is none."""
    marker, versions = "", 0
    for page in pipeline.s3.get_paginator("list_object_versions").paginate(Bucket=pipeline.raw, Prefix=key):
        newest = (m["VersionId"] for m in page.get("DeleteMarkers", []) if m["Key"] == key and m["IsLatest"])
        marker = marker or next(newest, "")
        versions += sum(version["Key"] == key for version in page.get("Versions", []))
        others = [
            each["Key"] for each in page.get("Versions", []) + page.get("DeleteMarkers", []) if each["Key"] != key
        ]
        if others:
            break  # keys come in order, and the key itself is the first that begins with it
    return marker if versions else ""


def copy_version(pipeline: Pipeline, key: str, version: str) -> None:
    """Copy a version over the newest one, in parts when it is large. Raises Refused when there is no such version."""
    source = {"Bucket": pipeline.raw, "Key": key, "VersionId": version}
    try:
        pipeline.s3.get_object(**source)["Body"].close()  # not HEAD, whose answer does not say what is wrong
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "NoSuchVersion", "InvalidArgument", "MethodNotAllowed"):
            raise
        raise Refused(
            f"{printable(key)} has no version {version} that can be copied. aws s3api list-object-versions lists them."
        ) from None
    config = TransferConfig(multipart_threshold=COPY_BYTES, multipart_chunksize=COPY_PART_BYTES)
    pipeline.s3.copy(source, pipeline.raw, key, Config=config)


def failures(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Show what is in the dead-letter queue and leave it there, and the verdicts on rejected files. Returns 0."""
    ledger, progress, total = Ledger(), Progress("messages"), 0
    letters = dead_letters(pipeline, ledger)
    try:
        for total, message in enumerate(letters, 1):
            at = int(message["Attributes"]["SentTimestamp"]) / 1000
            _, objects, tries = failed_objects(message["Body"])
            ledger.db.executemany(
                "insert into event values (?, ?, ?, ?, ?, ?)",
                [
                    [message["MessageId"], *failed, tries, at]
                    for failed in objects or [Failed("", "", "unsupported_event")]
                ],
            )
            progress.show(total)
    finally:
        letters.close()
        progress.clear()
    hidden, waiting = ledger.get("hidden", 0), depth(pipeline, pipeline.ingestion)
    if total:
        note_failures(pipeline, ledger, ledger.one("select min(at) from event") - 60, "event")
    why = "from failure where failure.key = event.key"
    # Neither the log nor Lambda's record has every attempt. With max(at), SQLite takes the newest event's fields.
    query = f"""
        select key, version, max(at), (select min(at) from event as other where other.key = event.key),
            count(distinct id), nullif(max(coalesce((select sum(times) {why}), 0), total(tries)), 0),
            coalesce(nullif(reason, ''), (select reason {why} and version = event.version),
                (select reason {why} and version = ''), (select reason {why}), 'unknown')
        from event group by key order by max(at)"""  # noqa: S608
    for key, version, last, first, messages, tries, reason in ledger.db.execute(query):
        if options.json:
            times = {"messages": messages, "tries": tries and int(tries), "first": iso(first), "last": iso(last)}
            out(key=key, state="failed", version_id=version, reason=reason, **times)
        else:
            often = f"  {messages} events" * (messages > 1) + f"  {count(int(tries or 0), 'attempt')}" * bool(tries)
            print(f"{iso(last)}  failed    {printable(key) or '(not an S3 event)'}  {reason}{often}")
    rejected = show_rejected(pipeline, ledger, as_json=options.json)
    if options.json:
        out(summary={"rejected": rejected, "messages": total, "hidden": hidden, "waiting": waiting})
    elif total or not hidden:
        again = f"To send them through the pipeline again: ./deploy.sh redrive {pipeline.name}"
        say(f"{count(total, 'failed event')}. {again}" if total else "No failed events.")
    say_hidden(hidden)
    if waiting:
        say(f"{count(waiting, 'event')} in the ingestion queue may have failed and be waiting for another attempt.")
    return 0


def show_rejected(pipeline: Pipeline, ledger: Ledger, *, as_json: bool) -> int:
    """Show the verdicts that stand, oldest first. Returns how many."""
    progress, number = Progress("verdicts"), 0
    for number, verdict in enumerate(standing(pipeline), 1):
        note(ledger, Finding(verdict.key, "rejected", verdict.source[0], verdict.at, verdict.reason))
        progress.show(number, verdict.key)
        pause(0)
    progress.clear()
    query = "select key, version, modified, reason from found order by modified"
    for key, version, at, reason in ledger.db.execute(query):
        if as_json:
            out(key=key, state="rejected", version_id=version, reason=reason, at=iso(at))
        else:
            print(f"{iso(at)}  rejected  {printable(key)}  {reason}")
    if number and not as_json:
        say(f"{count(number, 'rejected file')}, to be fixed and uploaded again.")
    return number


def say_hidden(hidden: int) -> None:
    """Report how many failed events the dead-letter queue did not show."""
    if hidden:
        say(
            f"Not shown: about {count(hidden, 'failed event')}, held by another command, or by one that "
            "was killed. Try again later."
        )


def redrive(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Send failed events back and report their outcomes. Returns 1 if something failed again, else 0."""
    ledger, progress, run = Ledger(), Progress("events"), f"{time.time():.6f}-{os.getpid()}"
    pace, began, batch = Pace(options.rate), time.time(), list[tuple[dict[str, Any], str, list[Failed]]]()
    total = odd = kept = 0
    wanted = set(options.key)
    stopped: Exception | None = None

    def flush() -> None:
        nonlocal total, kept
        if batch and not options.dry_run:
            send(pipeline, [event for _, event, _ in batch], run)
        keys = [[found.key] for _, _, objects in batch for found in objects]
        ledger.db.executemany("insert or ignore into sent (key) values (?)", keys)
        total += len(batch)
        if batch and not options.dry_run:
            kept += remove(pipeline, ledger, [message for message, _, _ in batch])
            pace.keep(len(batch))
        batch.clear()

    letters = dead_letters(pipeline, ledger)
    try:
        for message in letters:
            if message.get("MessageAttributes", {}).get(RUN, {}).get("StringValue") == run:
                continue  # failed again already
            event, objects, _ = failed_objects(message["Body"])
            if options.key and not any(found.key in options.key for found in objects):
                continue
            if not objects:
                odd += 1
                continue
            wanted -= {found.key for found in objects}
            if sum(len(other) for _, other, _ in batch) + len(event) > BATCH_BYTES or len(batch) == BATCH:
                flush()
            batch.append((message, event, objects))
            progress.show(total + len(batch))
        flush()
    except STOPS as error:
        if not total and not isinstance(error, Interrupted):
            raise
        stopped = error
    finally:
        letters.close()
        progress.clear()
    if stopped:
        say("Stopped. Events that were not sent back are still in the dead-letter queue.")
    elif wanted:
        say(f"There is no failed event about {', '.join(map(printable, sorted(wanted)))}.")
    if odd:
        say(f"Left in the dead-letter queue, not an S3 event: {count(odd, 'message')}.")
    if kept:
        say(
            f"Sent back, but not deleted from the dead-letter queue: {count(kept, 'message')}. "
            "Processing an event twice is harmless."
        )
    say_hidden(ledger.get("hidden", 0))
    if options.dry_run or stopped or not options.wait:
        ledger.db.execute("update sent set outcome = ?", ["would be sent" if options.dry_run else "sent"])
    else:
        try:
            await_outcomes(pipeline, ledger, began, options.wait)
        except STOPS as error:
            say("Stopped waiting. Events that were sent back will still be processed.")
            ledger.db.execute("update sent set outcome = 'unfinished' where outcome = ''")
            stopped = None if isinstance(error, Interrupted) else error
    became: Counter[str] = Counter()
    for key, outcome, reason in ledger.db.execute("select key, outcome, reason from sent order by key"):
        became[outcome] += 1
        if options.json:
            out(key=key, outcome=outcome, reason=reason)
        else:
            print(f"{outcome:13}  {printable(key)}" + (f"  {reason}" if reason else ""))
    if options.json:
        out(summary={"messages": total, "hidden": ledger.get("hidden", 0), **became})
    bad = sum(became[outcome] for outcome in ("rejected", "failed", "unfinished"))
    verb = "Would send back" if options.dry_run else "Sent back"
    say(f"{verb} {count(total, 'event')}." + (f" Failed again or not done yet: {count(bad, 'object')}." if bad else ""))
    if stopped:
        raise stopped
    return 1 if bad else 0


def await_outcomes(pipeline: Pipeline, ledger: Ledger, since: float, seconds: float) -> None:
    """Note the outcome of each event sent, from the log or, where it is not there in time, from the buckets."""
    progress, deadline, newest = Progress("objects through"), time.monotonic() + seconds, since
    all_of_them = ledger.one("select count(*) from sent")
    while True:
        for at, line in outcomes(pipeline, max(since, newest - 10)):
            newest = max(newest, at)
            values = [line["message"], line["reason"] if line["message"] in ("rejected", "failed") else "", line["key"]]
            ledger.db.execute("update sent set outcome = ?, reason = ? where key = ?", values)
        unsettled = ledger.one("select count(*) from sent where outcome in ('', 'failed')")  # a failure is retried
        if not unsettled or time.monotonic() > deadline:
            break
        progress.show(all_of_them - unsettled)
        pause(POLL_SECONDS)
    progress.clear()
    silent = ledger.keys("select key from sent where outcome = ''")
    for row, found in looked_at(pipeline, map(Row, silent)):
        outcome = "gone" if not found or found.state == "orphaned" else "unfinished"
        if found and found.state in ("processed", "rejected"):
            outcome = found.state
        ledger.db.execute("update sent set outcome = ? where key = ?", [outcome, row.key])


def status(pipeline: Pipeline, _: argparse.Namespace) -> int:
    """Show the state of the pipeline on one screen. Returns 0."""
    functions, now = pipeline.client("lambda"), time.time()
    version = functions.get_alias(FunctionName=pipeline.function, Name=pipeline.alias)["FunctionVersion"]
    config = functions.get_function_configuration(FunctionName=pipeline.function, Qualifier=version)
    counts, more = count_outcomes(pipeline, now - 3600)
    at_least = "at least " if more else ""
    last = last_processed(pipeline, now)
    alarms = [
        alarm["AlarmName"]
        for page in pipeline.client("cloudwatch")
        .get_paginator("describe_alarms")
        .paginate(StateValue="ALARM", AlarmNamePrefix=f"{pipeline.dashboard}-")
        for alarm in page["MetricAlarms"]
        if pipeline.topic in alarm["AlarmActions"]  # another environment's names may begin with the same prefix
    ]
    waiting, dead = depth(pipeline, pipeline.ingestion), depth(pipeline, pipeline.dead_letter)
    rows = {
        "function": f"{pipeline.function}, version {version}, code {config['CodeSha256']}",
        "deployed": config["LastModified"],
        "uploads": f"s3://{pipeline.raw}",
        "results": f"s3://{pipeline.processed}",
        "last processed": last,
        "in the last hour": f"{at_least}{count(counts['in'], 'file')} in, {counts['processed']:,} out, "
        f"{counts['rejected']:,} rejected, {counts['failed']:,} failed, {counts['gone']:,} gone",
        "ignored": ignored(pipeline),
        "waiting": f"{count(waiting, 'event')} in the queue",
        "failed events": f"{dead:,} in the dead-letter queue"
        + (f", see ./deploy.sh failures {pipeline.name}" if dead else ""),
        "alarms": ", ".join(alarms) or "none",
    }
    for name, value in rows.items():
        print(f"{name:17} {value}")
    return 0


def count_outcomes(pipeline: Pipeline, since: float) -> tuple[Counter[str], bool]:
    """Count the files in the log, each version once, however often it was tried. Also returns whether there are more.

    An attempt that failed before it knew the version counts towards a version in the log.

    The metrics are not used, because they count a retried file as another one.
    """
    ledger, progress, deadline, more = Ledger(), Progress("lines of the log"), time.monotonic() + STATUS_SECONDS, False
    for number, (_, line) in enumerate(outcomes(pipeline, since), 1):
        ledger.db.execute(
            "insert or replace into failure values (?, ?, ?, '', 1)",
            [line["key"], line["version_id"], line["message"]],
        )
        progress.show(number)
        if more := time.monotonic() > deadline:
            break
    progress.clear()
    db = ledger.db
    db.execute(
        """delete from failure where version = ''
           and exists (select 1 from failure as other where other.key = failure.key and other.version != '')"""
    )
    counts = Counter(dict(db.execute("select outcome, count(*) from failure group by outcome")))
    counts["in"] = counts.total()
    return counts, more


def ignored(pipeline: Pipeline) -> str:
    """Return how many of the raw bucket's first keys the pipeline ignores: a full listing may take minutes."""
    pages = pipeline.s3.get_paginator("list_objects_v2").paginate(
        Bucket=pipeline.raw, PaginationConfig={"MaxItems": LISTED}
    )
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    odd = sum(not key.endswith(".json") for key in keys)
    of = f" of the first {LISTED:,} uploads" if len(keys) == LISTED else ""
    return f"{count(odd, 'upload')}{of}, whose keys do not end in .json" if odd else f"none{of}"


def last_processed(pipeline: Pipeline, now: float) -> str:
    """Return which file was processed last, and when. Looks back in growing steps, because the log is read forward."""
    hours, two_weeks = 1 / 60, 14 * 24.0
    while True:
        last = None
        for at, line in outcomes(pipeline, now - hours * 3600):
            if line["message"] == "processed":
                last = f"{printable(line['key'])}, {iso(at)}"
        if last or hours == two_weeks:
            return last or "none in two weeks"
        hours = min(hours * 8, two_weeks)


def logs(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Show the function's log, a line for each file, and follow it unless it is to be read once. Returns 0."""
    newest = moment(options.since)
    shown: deque[str] = deque(maxlen=LOG_PAGE)  # a line may arrive late, so the last seconds are read again
    while True:
        known = set(shown)
        for at, line in log_lines(pipeline, newest):
            text = readable(at, line)
            name = f"{line.get('function_request_id')} {text}"
            if text and name not in known:
                shown.append(name)
                print(text, flush=True)
            newest = max(newest, at - LATE_SECONDS)
        if options.once:
            return 0
        pause(POLL_SECONDS)


def readable(at: float, line: dict[str, Any]) -> str:
    """Return a line of the log for people, empty if it tells them nothing."""
    clock, what = iso(at), line.get("message")
    if what in OUTCOMES and "bytes_out" in line:
        size = f"{count(line['records'], 'record')}  {count(line['bytes_in'], 'byte')}  " if what == "processed" else ""
        reason = f"  {line['reason']}" if line["reason"] else ""
        key, version = printable(line["key"]), line["version_id"] or "-"
        return f"{clock}  {what:9}  {key}  version {version}  {size}{line['milliseconds']:,} ms{reason}"
    if "level" in line and "key" in line:
        return f"{clock}  {what:9}  {printable(line['key'])}"
    if line.get("type") == "platform.report":  # Lambda's own, of one invocation
        outcome = line.get("record", {}).get("status", "success")
        return "" if outcome == "success" else f"{clock}  {outcome}"
    if line.get("level") in ("ERROR", "CRITICAL"):
        return f"{clock}  error      {line.get('reason') or line.get('errorType', '')}"
    return ""
