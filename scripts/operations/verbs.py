"""The verbs of scripts/operate.py. Each takes a pipeline and options, and returns an exit code."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from operations.audit import FAULTS, REPAIRABLE, Inventory, Row, examine, listed, looked_at, report, settle
from operations.core import (
    Interrupted,
    Ledger,
    Pipeline,
    Problem,
    Progress,
    client,
    iso,
    ledger_path,
    moment,
    out,
    pause,
    printable,
    say,
)
from operations.log import LATE_SECONDS, LOG_PAGE, OUTCOMES, log_lines, note_failures, outcomes
from operations.queues import BATCH, RUN, Failed, Pace, dead_letters, depth, failed_objects, notification, remove, send

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence


BATCH_BYTES = 200_000  # SQS takes 256 KiB in one call
POLL_SECONDS = 2.0
STOPS = (Interrupted, ClientError, BotoCoreError, Problem)  # what ends a run before its time
STATUS_SECONDS = 20.0  # how long status reads the log


def audit(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Compare raw with processed. Returns 0 when nothing is missing, stale or tampered with, else 1."""
    kept = ledger_path("audit", pipeline.raw, options.prefix, options.inventory, options.deep)
    ledger = Ledger(kept, options.resume)
    up_to = ""
    if options.inventory:
        inventory = Inventory.at(pipeline, options.inventory, options.prefix)
        up_to = iso(inventory.made)
        say(f"The inventory is of {up_to}. Nothing that was uploaded later is looked at.")
        rows = inventory.rows(pipeline, ledger, options.prefix)
    else:
        rows = listed(pipeline, options.prefix, ledger.get("after", ""))
    if done := ledger.get("done", 0):
        say(f"Going on after {done:,} objects.")
    try:
        examine(pipeline, ledger, rows, options.deep)
        counts = settle(pipeline, ledger, options.in_flight * 60, options.deep)
        waiting = depth(pipeline, pipeline.ingestion)
    except STOPS:
        if done := ledger.get("done", 0):
            say(f"Stopped after {done:,} objects. The same command with --resume goes on from there.")
        raise
    report(ledger, counts, up_to, options.json)
    faults = sum(counts[state] for state in FAULTS)
    repairable = ledger.one(f"select count(*) from found where {REPAIRABLE}")  # noqa: S608
    if waiting:
        say(f"{waiting:,} events wait in the queue: what they are about may be among the above.")
    if faults > repairable:
        say(f"{faults - repairable:,} results are of rejected files: delete them, as docs/operations.md says.")
    if not ledger.get("done", 0):
        say(f"Nothing in s3://{pipeline.raw}/{options.prefix}: nothing to compare.")
    elif not faults:
        say(f"Every upload up to {up_to} is accounted for." if up_to else "Every upload is accounted for.")
    elif repairable and options.repair:
        keys = ledger.keys(f"select key from found where {REPAIRABLE}", ledger.get("sent_up_to", ""))  # noqa: S608
        total = send_again(pipeline, ledger, ((page, page[-1]) for page in itertools.batched(keys, 1000)), options.rate)
        say(f"{total:,} objects were sent through the pipeline again. Audit again when they are through.")
    elif repairable:
        say(
            f"{repairable:,} objects need repair: the same command with --repair sends them through the pipeline again."
        )
    ledger.finish()
    return 1 if faults else 0


def send_again(pipeline: Pipeline, ledger: Ledger, pages: Iterable[tuple[Sequence[str], str]], rate: float) -> int:
    """Send events about raw objects, those after the last one that the ledger knows of. Returns how many in all.

    pages: keys, and the key up to which all has been gone through with them. Raises Interrupted.
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
            say(f"Stopped after sending {total:,} objects. The same command with --resume goes on from there.")
        raise
    finally:
        progress.clear()
    return int(total)


def reprocess(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Send raw objects through the pipeline again, those that were uploaded since a time. Returns 0."""
    ledger = Ledger(ledger_path("reprocess", pipeline.raw, options.prefix, options.since), options.resume)
    after = ledger.get("sent_up_to", "")
    since = ledger.get("since") or moment(options.since or "1970-01-01")
    if after:
        say(f"Going on after {ledger.get('sent'):,} objects, at {printable(after)}.")
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
    say(f"{total:,} objects were sent through the pipeline." if total else "There are no such objects: nothing to do.")
    return 0


def failures(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Show what is in the dead-letter queue and leave it there. Returns 0."""
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
    # Neither the log nor Lambda's record knows of every try. Beside max(at), SQLite takes the newest event's fields.
    query = f"""
        select key, version, max(at), (select min(at) from event as other where other.key = event.key),
            count(distinct id), nullif(max(coalesce((select sum(times) {why}), 0), total(tries)), 0),
            coalesce(nullif(reason, ''), (select reason {why} and version = event.version),
                (select reason {why} and version = ''), (select reason {why}), 'unknown')
        from event group by key order by max(at)"""  # noqa: S608
    for key, version, last, first, messages, tries, reason in ledger.db.execute(query):
        if options.json:
            times = {"messages": messages, "tries": tries and int(tries), "first": iso(first), "last": iso(last)}
            out(key=key, version_id=version, reason=reason, **times)
        else:
            often = f"  {messages} events" * (messages > 1) + f"  tried {tries or 0:.0f} times" * bool(tries)
            print(f"{iso(last)}  {printable(key) or '(no event of S3)'}  {reason}{often}")
    if options.json:
        out(summary={"messages": total, "hidden": hidden, "waiting": waiting})
    elif total or not hidden:
        say(f"{total:,} failed events. ./deploy.sh redrive sends them back." if total else "No failed events.")
    say_hidden(hidden)
    if waiting:
        say(f"{waiting:,} events are in the ingestion queue, and may be failed ones that are to be tried again.")
    return 0


def say_hidden(hidden: int) -> None:
    """Tell how many failed events the dead-letter queue did not show."""
    if hidden:
        say(f"About {hidden:,} failed events are hidden: another command has them, or was killed. Try again later.")


def redrive(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Send failed events back and tell what became of them. Returns 1 if something failed again, else 0."""
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
        say("Stopped. What was not sent back is still in the dead-letter queue.")
    elif wanted:
        say(f"No failed event is about {', '.join(map(printable, sorted(wanted)))}.")
    if odd:
        say(f"{odd:,} messages are no events of S3. They stay where they are.")
    if kept:
        say(f"{kept:,} events were sent back that SQS does not let go of: they stay as well. Twice does no harm.")
    say_hidden(ledger.get("hidden", 0))
    if options.dry_run or stopped or not options.wait:
        ledger.db.execute("update sent set outcome = ?", ["would be sent" if options.dry_run else "sent"])
    else:
        try:
            await_outcomes(pipeline, ledger, began, options.wait)
        except STOPS as error:
            say("Stopped waiting. What was sent back is processed all the same.")
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
    verb = "would be" if options.dry_run else "were"
    say(f"{total:,} events {verb} sent back." + (f" {bad:,} objects failed again or are not done yet." if bad else ""))
    if stopped:
        raise stopped
    return 1 if bad else 0


def await_outcomes(pipeline: Pipeline, ledger: Ledger, since: float, seconds: float) -> None:
    """Note what becomes of what was sent, as the log tells it; of what it does not tell in time, as the buckets do."""
    progress, deadline, newest = Progress("objects are through"), time.monotonic() + seconds, since
    all_of_them = ledger.one("select count(*) from sent")
    while True:
        for at, line in outcomes(pipeline, max(since, newest - 10)):
            newest = max(newest, at)
            values = [line["message"], line["reason"] if line["message"] in ("rejected", "failed") else "", line["key"]]
            ledger.db.execute("update sent set outcome = ?, reason = ? where key = ?", values)
        unsettled = ledger.one("select count(*) from sent where outcome in ('', 'failed')")  # a failure is tried again
        if not unsettled or time.monotonic() > deadline:
            break
        progress.show(all_of_them - unsettled)
        pause(POLL_SECONDS)
    progress.clear()
    silent = ledger.keys("select key from sent where outcome = ''")
    for row, found in looked_at(pipeline, map(Row, silent)):
        outcome = "gone" if not found or found.state == "orphaned" else "unfinished"
        if found and found.state == "processed":
            outcome = "processed"
        ledger.db.execute("update sent set outcome = ? where key = ?", [outcome, row.key])


def status(pipeline: Pipeline, _: argparse.Namespace) -> int:
    """Show how the pipeline is, on one screen. Returns 0."""
    functions, now = client("lambda"), time.time()
    version = functions.get_alias(FunctionName=pipeline.function, Name=pipeline.alias)["FunctionVersion"]
    config = functions.get_function_configuration(FunctionName=pipeline.function, Qualifier=version)
    counts, more = count_outcomes(pipeline, now - 3600)
    at_least = "at least " if more else ""
    last = last_processed(pipeline, now)
    alarms = [
        alarm["AlarmName"]
        for page in client("cloudwatch")
        .get_paginator("describe_alarms")
        .paginate(StateValue="ALARM", AlarmNamePrefix=f"{pipeline.name}-")
        for alarm in page["MetricAlarms"]
        if pipeline.topic in alarm["AlarmActions"]  # the names of another environment may begin like that, too
    ]
    waiting, dead = depth(pipeline, pipeline.ingestion), depth(pipeline, pipeline.dead_letter)
    rows = {
        "function": f"{pipeline.function}, version {version}, code {config['CodeSha256']}",
        "deployed": config["LastModified"],
        "uploads": f"s3://{pipeline.raw}",
        "results": f"s3://{pipeline.processed}",
        "last processed": last,
        "in the last hour": f"{at_least}{counts['in']:,} files in, {counts['processed']:,} out, "
        f"{counts['rejected']:,} rejected, {counts['failed']:,} failed, {counts['gone']:,} gone",
        "waiting": f"{waiting:,} events in the queue",
        "failed events": f"{dead:,} in the dead-letter queue" + (", see ./deploy.sh failures" if dead else ""),
        "alarms": ", ".join(alarms) or "none",
    }
    for name, value in rows.items():
        print(f"{name:17} {value}")
    return 0


def count_outcomes(pipeline: Pipeline, since: float) -> tuple[Counter[str], bool]:
    """Count the files in the log, each version once however often it was tried. Returns whether there are more.

    The log and not the metrics: those count a file that is tried again as another one.
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
    counts = Counter(dict(ledger.db.execute("select outcome, count(*) from failure group by outcome")))
    counts["in"] = counts.total()
    return counts, more


def last_processed(pipeline: Pipeline, now: float) -> str:
    """Return which file was processed last, and when. Looks further and further back, as the log is read forward."""
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
    """Show the function's log, a line for each file, and go on as it grows unless told to read it once. Returns 0."""
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
        size = f"{line['records']:,} records  {line['bytes_in']:,} bytes  " if what == "processed" else ""
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
