"""Erase uploads, or the records of patients, for good: plan, do it, look again, and report.

Every step reads a key's upload, result and verdict from S3, so a run that was killed anywhere can be resumed. No older
version is removed before the newest one is free of the patients and has its result.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from botocore.exceptions import ClientError

from commands.operate.cut import SOURCE, Changed, cut_of, rewrite
from commands.operate.deep import function_code
from commands.operate.find import (
    GONE,
    SIDE_BY_SIDE,
    Held,
    Patients,
    Version,
    ask_for,
    look,
    noted,
    pieces_of,
    role,
    same_question,
    search,
)
from commands.operate.ledger import Ledger, ledger_path
from commands.operate.objects import each, head, lineage, source
from commands.operate.queues import dead_letters, depth, failed_objects
from commands.operate.verbs import STOPS
from commands.terminal import (
    Progress,
    Refused,
    confirm,
    count,
    iso,
    on_signals,
    out,
    pause,
    printable,
    say,
    stop_now,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator
    from typing import IO

    from commands.state import Pipeline

POLL_SECONDS = 2.0
AT_ONCE = 100  # keys whose plans are held in memory
SWEEPS = 3  # attempts to remove what the function has written meanwhile as well
ACTIONS = {
    "rewrite": "to be rewritten without the records and processed; then all older versions and results are removed",
    "result": "its kept result is to be rewritten without the records; then the versions with them are removed",
    "erase": "to be removed with all versions, results and verdicts",
    "older": "older versions are to be removed; the newest one stays",
    "locked": "left alone: a version is under object lock",
    "waiting": "left alone: the newest version has not been processed yet",
}
ELSEWHERE = (
    "S3's access logs, CloudTrail, the function's log and events in queues name keys and version IDs, not content.",
    "Backups, replicas, inventories and copies outside the three buckets of this environment are not known here.",
    "Whoever downloaded a file or a result may still have it.",
)


class Stored(NamedTuple):
    """A version or a delete marker of a key. newest: nothing came after it. modified: in seconds since the epoch."""

    bucket: str
    key: str
    version_id: str
    etag: str
    modified: float
    marker: bool
    newest: bool

    @property
    def version(self) -> Version:
        """The same version, to be searched."""
        return Version(self.bucket, self.key, self.version_id, self.etag, self.modified, self.newest)


class Task(NamedTuple):
    """The work to be done on a key.

    action: one of ACTIONS. For a rewrite: newest, the ID and ETag of the newest version; base, those of the version
    whose records are kept; made, those of the version that was written in its place.
    state: planned, made, settled and removed, in that order; else why nothing more is done, with the reason.
    """

    key: str
    action: str
    newest: str = ""
    newest_etag: str = ""
    base: str = ""
    base_etag: str = ""
    made: str = ""
    made_etag: str = ""
    state: str = "planned"
    reason: str = ""

    def bucket(self, pipeline: Pipeline) -> str:
        """Return the bucket in which a version is rewritten."""
        return pipeline.processed if self.action == "result" else pipeline.raw


# --- plan -------------------------------------------------------------------------------------------------------------


def stored(pipeline: Pipeline, bucket: str, key: str) -> list[Stored]:
    """Return all versions and delete markers of a key in a bucket, the newest one last."""
    found = []
    for page in pipeline.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        kinds = [(one, False) for one in page.get("Versions", [])]
        kinds += [(one, True) for one in page.get("DeleteMarkers", [])]
        found += [
            Stored(
                bucket,
                key,
                one["VersionId"],
                one.get("ETag", "").strip('"'),
                one["LastModified"].timestamp(),
                marker,
                one["IsLatest"],
            )
            for one, marker in kinds
            if one["Key"] == key
        ]
        if any(one["Key"] != key for one, _ in kinds):
            break  # keys come in order, and the key itself is the first that begins with it
    found.reverse()  # S3 lists the newest first; within a second, that order is all there is
    return sorted(found, key=attrgetter("newest", "modified"))


def everywhere(pipeline: Pipeline, key: str) -> dict[str, list[Stored]]:
    """Return what is stored of a key, by bucket."""
    return {bucket: stored(pipeline, bucket, key) for bucket in (pipeline.raw, pipeline.processed, pipeline.rejected)}


def plan_key(pipeline: Pipeline, key: str, held: Iterable[Held] | None = None) -> tuple[Task, list[Stored]]:
    """Return what to do about a key, and the versions that are to go. Raises Refused, ClientError.

    held: its versions that hold data of the patients. None: all versions are to go.
    """
    found = everywhere(pipeline, key)
    if held is None:
        task, doomed = Task(key, "erase"), list(itertools.chain(*found.values()))
        if not doomed:
            raise Refused(f"nothing of {printable(key)} is in the buckets of {pipeline.name}. Check the key.")
    else:
        task, doomed = plan_patients(pipeline, key, found, held)
    if task.state == "planned" and (until := lock(pipeline, doomed)):
        task = task._replace(action="locked", state="locked", reason=until)
    return task, doomed


def plan_patients(
    pipeline: Pipeline, key: str, found: dict[str, list[Stored]], held: Iterable[Held]
) -> tuple[Task, list[Stored]]:
    """Return what to do about a key that holds records of patients, and the versions that are to go.

    What is current stays, without the patients: the newest upload or, if it is rejected, the one before it; the result
    if its upload no longer exists. Raises ClientError.
    """
    raw, processed, rejected = found.values()
    holding = {(one.version.bucket, one.version.version_id): one for one in held}

    def of(one: Stored | None) -> Held | None:
        return holding.get((one.bucket, one.version_id)) if one else None

    newest, result = (some[-1] if some and not some[-1].marker else None for some in (raw, processed))
    if newest and of(newest):
        uploads = [one for one in reversed(raw) if not one.marker]
        valid = (one for one in uploads if not ((about := of(one)) and about.state == "text"))
        base = next(valid, None)
        if base and not only_theirs(of(base)):
            task = Task(key, "rewrite", newest.version_id, newest.etag, base.version_id, base.etag)
        else:
            task = Task(key, "erase")
        return task, [*raw, *processed, *rejected]
    of_raw, of_processed = without(raw, holding), without(processed, holding)
    task = Task(key, "older")
    if result and of(result) and not only_theirs(of(result)):
        task = Task(key, "result", *(result.version_id, result.etag) * 2)
        of_processed = processed
    elif (of_raw, of_processed) == (raw, processed):
        task = Task(key, "erase")
    if newest and key.endswith(".json") and not is_settled(pipeline, key, (newest.version_id, newest.etag)):
        task = task._replace(action="waiting", state="waiting", reason=ACTIONS["waiting"])
    return task, [*of_raw, *of_processed, *(rejected if of_raw == raw else [])]


def only_theirs(held: Held | None) -> bool:
    """Return whether a version holds records of the patients and of nobody else."""
    return bool(held and held.matched == held.records)


def without(found: list[Stored], holding: dict[tuple[str, str], Held]) -> list[Stored]:
    """Return the versions in a bucket that are to be removed, given those that hold something.

    If the newest one goes, or all but delete markers, then all go: an older version must not become current again.
    """
    to_go = [one for one in found if (one.bucket, one.version_id) in holding]
    versions = [one for one in found if not one.marker]
    return found if to_go and (found[-1] in to_go or len(to_go) == len(versions)) else to_go


def is_settled(pipeline: Pipeline, key: str, newest: tuple[str, str]) -> bool:
    """Return whether the newest version of an upload has its result or its verdict."""
    buckets = (pipeline.processed, pipeline.rejected)
    return any(source(head(pipeline, bucket, key)) == newest for bucket in buckets)


def lock(pipeline: Pipeline, doomed: list[Stored]) -> str:
    """Return until when object lock prevents the removal of versions, empty if it does not."""
    until = ""
    for one in doomed:
        if one.marker:
            continue
        try:
            told = pipeline.s3.head_object(Bucket=one.bucket, Key=one.key, VersionId=one.version_id)
        except ClientError as error:
            if error.response["Error"]["Code"] == "404":
                continue
            raise
        if told.get("ObjectLockLegalHoldStatus") == "ON":
            return "until its legal hold is released"
        if (date := told.get("ObjectLockRetainUntilDate")) and date.timestamp() > time.time():
            until = max(until, f"until {iso(date.timestamp())}")
    return until


def make_plan(pipeline: Pipeline, ledger: Ledger, keys: list[str], keep_rejected: bool) -> None:
    """Note what is to be done: for the keys named or, if none is, for those found. Raises Refused, ClientError."""

    def of(key: str) -> tuple[Task, list[Stored]]:
        if keys:
            return plan_key(pipeline, key)
        return plan_key(pipeline, key, by_key[key])

    kinds = "('records')" if keep_rejected else "('records', 'text')"
    found = ledger.keys(f"select distinct key from held where state in {kinds}")  # noqa: S608
    for some in itertools.batched(keys or found, 1000):
        by_key = {} if keys else {key: list(noted(ledger, f"key = ? and state in {kinds}", [key])) for key in some}
        for _, (task, doomed) in each(of, some, SIDE_BY_SIDE):
            keep(ledger, task)
            to_remove(ledger, doomed)
            pause(0)
    ledger.put(planned=1)
    ledger.db.commit()


def keep(ledger: Ledger, task: Task) -> None:
    """Save the progress of a task."""
    ledger.db.execute("insert or replace into task values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", task)


def to_remove(ledger: Ledger, doomed: Iterable[Stored]) -> None:
    """Save what is to be removed, before it is removed."""
    ledger.db.executemany("insert or ignore into doomed values (?, ?, ?, ?, ?, ?, ?, null)", doomed)


def tasks(ledger: Ledger, condition: str = "true") -> list[Task]:
    """Return the tasks that meet a condition, in order of their keys."""
    return [Task(*row) for row in ledger.db.execute(f"select * from task where {condition} order by key")]  # noqa: S608


def doomed_of(ledger: Ledger, key: str) -> list[Stored]:
    """Return what is to be removed of a key, in the order of removal: the newest version of a bucket last."""
    rows = ledger.db.execute(
        "select bucket, key, version, etag, modified, marker, newest from doomed where key = ? order by newest", [key]
    )
    return [Stored(*row) for row in rows]


def show_plan(pipeline: Pipeline, ledger: Ledger) -> None:
    """Show what is going to be done, each key on a line."""
    counts: Counter[str] = Counter()
    for task in tasks(ledger):
        counts[task.action] += 1
        where = Counter(role(pipeline, one.bucket) for one in doomed_of(ledger, task.key))
        versions = ", ".join(f"{number:,} {name}" for name, number in where.items())
        what = task.reason
        for held in noted(ledger, "key = ?", [task.key]):
            if held.version.version_id == task.base:
                what = f"{held.matched:,} of {count(held.records, 'record')} to be taken out  {what}"
            elif held.state == "text" and held.version.newest and task.action in ("erase", "rewrite"):
                what = f"the newest version is a rejected file ({held.reason}) and goes as a whole  {what}"
        say(f"{task.action:8}  {printable(task.key)}  versions: {versions or 'none'}  {what}".rstrip())
    for action, meaning in ACTIONS.items():
        if counts[action]:
            say(f"{count(counts[action], 'key')} {meaning}.")


# --- do it ------------------------------------------------------------------------------------------------------------


def rewrite_all(pipeline: Pipeline, ledger: Ledger, patients: Patients) -> None:
    """Rewrite versions without the patients' records. Raises Interrupted, ClientError."""
    progress = Progress("files rewritten")
    todo = tasks(ledger, "action in ('rewrite', 'result') and state = 'planned'")
    rewritten = each(lambda task: rewrite_one(pipeline, patients, task), todo, SIDE_BY_SIDE)
    try:
        for done, (_, task) in enumerate(rewritten, 1):
            keep(ledger, task)
            ledger.db.commit()
            progress.show(done, task.key)
            pause(0)
    finally:
        progress.clear()


def rewrite_one(pipeline: Pipeline, patients: Patients, task: Task) -> Task:
    """Rewrite a version, unless an earlier run has done so, and read what was written. Raises ClientError."""
    pause(0)
    code, bucket = function_code(pipeline), task.bucket(pipeline)
    base = Version(bucket, task.key, task.base, task.base_etag, 0, newest=True)
    old = None
    try:
        if not made_of(pipeline, task):
            with contextlib.suppress(Changed):  # also raised by a retry, if the first response was lost
                old = rewrite(pipeline, patients, base, task.newest_etag)
        if not (made := made_of(pipeline, task)):
            return task._replace(state="changed", reason="a newer version was uploaded meanwhile")
        after = Version(bucket, task.key, *lineage(made), 0, newest=True)
        old, new = old or cut_of(pipeline, patients, base), cut_of(pipeline, patients, after)
    except code.Rejected as error:
        return task._replace(state="failed", reason=f"it cannot be rewritten ({error.reason}); no version was removed")
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return task._replace(state="changed", reason="one of its versions was deleted meanwhile")
        raise
    if new.removed or new.proof != old.proof:
        return task._replace(state="failed", reason="the rewritten file failed its check; no version was removed")
    return task._replace(state="made", made=after.version_id, made_etag=after.etag)


def made_of(pipeline: Pipeline, task: Task) -> Any:
    """Return S3's response for the newest version if it was written in place of the planned one, else None."""
    newest = head(pipeline, task.bucket(pipeline), task.key)
    return newest if newest and newest["Metadata"].get(SOURCE) == task.base else None


def await_results(pipeline: Pipeline, ledger: Ledger, seconds: float) -> None:
    """Wait until every rewritten upload has its result. Raises Interrupted, ClientError."""
    ledger.db.execute(
        """update task set state = 'settled'
           where (state = 'planned' and action in ('erase', 'older')) or (state = 'made' and action = 'result')"""
    )
    ledger.db.commit()
    progress, deadline = Progress("results awaited"), time.monotonic() + seconds
    try:
        while todo := tasks(ledger, "state = 'made'"):
            for task, (settled, others) in each(lambda task: settle(pipeline, task), todo, SIDE_BY_SIDE):
                to_remove(ledger, others)
                keep(ledger, settled)
                ledger.db.commit()
                progress.show(len(todo), task.key)
                pause(0)
            if time.monotonic() > deadline:
                break
            if tasks(ledger, "state = 'made'"):
                pause(POLL_SECONDS)
    finally:
        progress.clear()


def settle(pipeline: Pipeline, task: Task) -> tuple[Task, list[Stored]]:
    """Check whether a rewritten upload has its result. Returns the task, and the results made before this one."""
    made, newest = (task.made, task.made_etag), head(pipeline, pipeline.raw, task.key)
    if not newest or lineage(newest) != made:
        return task._replace(state="changed", reason="a newer version was uploaded meanwhile"), []
    if not task.key.endswith(".json"):  # the function ignores it
        return task._replace(state="settled"), []
    if source(head(pipeline, pipeline.processed, task.key)) == made:
        results = stored(pipeline, pipeline.processed, task.key)
        current = source(head(pipeline, pipeline.processed, task.key)) == made  # also when listed
        others = [*results[:-1], *stored(pipeline, pipeline.rejected, task.key)]
        return (task._replace(state="settled"), others) if current else (task, [])
    if source(head(pipeline, pipeline.rejected, task.key)) == made:
        return task._replace(state="failed", reason="the function rejected the new version; no version was removed"), []
    return task, []


def remove_all(pipeline: Pipeline, ledger: Ledger) -> None:
    """Remove all that is to go. Raises Interrupted, ClientError; what was removed is noted."""
    progress = Progress("keys done")

    def of(task: Task) -> list[Stored]:
        return remove(pipeline, task, plans[task.key])

    try:
        for before, some in enumerate(itertools.batched(tasks(ledger, "state = 'settled'"), AT_ONCE)):
            plans = {task.key: doomed_of(ledger, task.key) for task in some}
            for done, (task, swept) in enumerate(each(of, some, SIDE_BY_SIDE), before * AT_ONCE + 1):
                to_remove(ledger, swept)
                ledger.db.execute("update doomed set at = ? where key = ? and at is null", [time.time(), task.key])
                keep(ledger, task._replace(state="removed"))
                ledger.db.commit()
                progress.show(done, task.key)
                pause(0)
    finally:
        progress.clear()


def remove(pipeline: Pipeline, task: Task, doomed: list[Stored]) -> list[Stored]:
    """Remove versions and delete markers of a key. Returns what else was removed. Raises Interrupted, ClientError.

    Uploads go last: if the function removes results of deleted uploads, it gets an event for each and finds none.
    In each bucket the newest version goes last, so that no older one becomes current meanwhile. If the key is erased,
    what the function wrote meanwhile is removed as well, and returned. A version that is now locked stays.
    """
    order = {bucket: place for place, bucket in enumerate((pipeline.processed, pipeline.rejected, pipeline.raw))}
    swept: list[Stored] = []
    for _ in range(SWEEPS):
        for one in sorted(doomed, key=lambda one: order[one.bucket]):
            pause(0)
            try:
                pipeline.s3.delete_object(Bucket=one.bucket, Key=one.key, VersionId=one.version_id)
            except ClientError:
                if not lock(pipeline, [one]):  # what was written since the plan may be locked
                    raise
        if task.action != "erase" or stored(pipeline, pipeline.raw, task.key):
            break
        doomed = [*stored(pipeline, pipeline.processed, task.key), *stored(pipeline, pipeline.rejected, task.key)]
        if not doomed:
            break
        swept += doomed
    return swept


# --- look again -------------------------------------------------------------------------------------------------------


def prove(pipeline: Pipeline, ledger: Ledger, patients: Patients | None) -> Iterator[dict[str, Any]]:
    """Look at every key again. Yield what was done about it and what remains. Raises Interrupted, ClientError."""
    progress = Progress("keys looked at again")

    def of(task: Task) -> dict[str, Any]:
        return prove_key(pipeline, patients, task, plans[task.key])

    try:
        for before, some in enumerate(itertools.batched(tasks(ledger), AT_ONCE)):
            plans = {
                task.key: [
                    (Stored(*row), at)
                    for *row, at in ledger.db.execute("select * from doomed where key = ? order by newest", [task.key])
                ]
                for task in some
            }
            for done, (task, proof) in enumerate(each(of, some, SIDE_BY_SIDE), before * AT_ONCE + 1):
                progress.show(done, task.key)
                yield proof
                pause(0)
    finally:
        progress.clear()


def prove_key(
    pipeline: Pipeline, patients: Patients | None, task: Task, plan: list[tuple[Stored, float | None]]
) -> dict[str, Any]:
    """Return what was done about a key, and what remains of what should be gone."""
    found = {(one.bucket, one.version_id): one for one in itertools.chain(*everywhere(pipeline, task.key).values())}
    doomed = {(one.bucket, one.version_id) for one, _ in plan}
    removed = [
        {**named(pipeline, one), "removed": iso(at) if at else None}
        for one, at in plan
        if (one.bucket, one.version_id) not in found
    ]
    remains = []
    for place, one in found.items():
        why = ""
        if place in doomed:
            why = f"{task.state}: {task.reason}" if task.reason else "its result is not made yet"
            if task.state == "removed":
                why = f"locked: {lock(pipeline, [one]) or 'the lock has expired, run this again'}"
        elif task.action == "erase" and task.state == "removed":
            why = "written meanwhile"
        if patients and not one.marker and one.bucket != pipeline.rejected:
            why = why or held_still(pipeline, patients, one.version)
        if why:
            remains.append({**named(pipeline, one), "why": why})
    uploads = [
        {"bucket": role(pipeline, bucket), "upload_id": one["UploadId"], "why": "incomplete multipart upload"}
        for bucket in (pipeline.raw, pipeline.processed)
        for one in incomplete(pipeline, bucket, task.key)
    ]
    changed = task.state in ("changed", "failed") and not remains
    return {
        "key": task.key,
        "action": task.action,
        "state": "remains" if remains and task.state == "removed" else task.state,
        "reason": task.reason,
        "made": task.made or None,
        "removed": removed,
        "remains": remains + uploads + ([{"why": task.reason}] if changed else []),
    }


def named(pipeline: Pipeline, one: Stored) -> dict[str, Any]:
    """Return a version as the report names it."""
    return {"bucket": role(pipeline, one.bucket), "version_id": one.version_id, "delete_marker": bool(one.marker)}


def held_still(pipeline: Pipeline, patients: Patients, version: Version) -> str:
    """Return what a version still holds of the patients, empty if nothing."""
    held = look(pipeline, patients, version)
    if held:
        return f"holds {count(held.matched, 'record')} of these patients" if held.state == "records" else held.state
    try:
        if patients.in_text(pieces_of(pipeline, version)[1]):
            return "an id stands in another field or as part of a text: see for yourself"
    except ClientError as error:
        if error.response["Error"]["Code"] not in GONE:
            raise
    return ""


def incomplete(pipeline: Pipeline, bucket: str, key: str) -> list[dict[str, Any]]:
    """Return the multipart uploads to a key that are in progress or were abandoned."""
    pages = pipeline.s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key, EncodingType="url")
    return [one for page in pages for one in page.get("Uploads", []) if unquote(one["Key"]) == key]


def events(pipeline: Pipeline, ledger: Ledger) -> dict[str, int]:
    """Return how many failed events are about the keys, and how many wait. Both name keys, and stay in their queues.

    Like any receiver, this hides the messages of a queue from others for a short time.
    """
    keys, letters, about = {task.key for task in tasks(ledger)}, dead_letters(pipeline, Ledger()), 0
    try:
        for message in letters:
            about += any(failed.key in keys for failed in failed_objects(message["Body"])[1])
    finally:
        letters.close()
    return {"failed_about_these_keys": about, "waiting": depth(pipeline, pipeline.ingestion)}


# --- the verb ---------------------------------------------------------------------------------------------------------


def erase(pipeline: Pipeline, options: argparse.Namespace) -> int:
    """Erase keys, or the records of patients. Returns 0 when nothing remains, else 1. Raises Refused."""
    if options.key and (options.prefix or options.keep_rejected):
        raise Refused("--prefix and --keep-rejected go with --patients only. Leave them out, or use --patients.")
    patients, asked_from = (None, "") if options.key else ask_for(options.patients)
    with report_file(options.report) as file:
        ledger = Ledger(ledger_path("erase", pipeline.raw), options.resume)
        same_question(
            ledger,
            options.resume,
            keys=json.dumps(sorted(options.key)),
            prefix=options.prefix,
            rejected=options.keep_rejected,
            patients=asked_from if patients else "keys",
        )
        ledger.put(began=ledger.get("began") or time.time())
        try:
            if not ledger.get("planned"):
                if patients:
                    search(pipeline, ledger, patients, options.prefix, options.rate)
                make_plan(pipeline, ledger, options.key, options.keep_rejected)
            show_plan(pipeline, ledger)
            ask(pipeline, ledger, options)
            if patients:
                rewrite_all(pipeline, ledger, patients)
            await_results(pipeline, ledger, options.wait)
            remove_all(pipeline, ledger)
            report = reported(pipeline, ledger, patients, options)
        except STOPS:
            ledger.db.commit()
            if ledger.get("planned") or ledger.get("done"):
                say("Stopped at a safe place. To resume, run the same command with --resume.")
            raise
        if file:
            json.dump(report, file, indent=2)
            file.write("\n")
        show_report(report, as_json=options.json)
    ledger.finish()
    return 0 if report["complete"] else 1


@contextlib.contextmanager
def report_file(path: str | None) -> Iterator[IO[str] | None]:
    """Open the file for the report, which only its owner may read. Remove it again if nothing was written to it."""
    if not path:
        yield None
        return
    try:
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise Refused(f"{printable(path)} exists. Name a new file for the report.") from None
    except OSError as error:
        raise Refused(f"the report cannot be written to {printable(path)}: {error.strerror}.") from None
    with os.fdopen(number, "w", encoding="utf-8") as file:
        try:
            yield file
        finally:
            if not file.tell():
                Path(path).unlink()


def ask(pipeline: Pipeline, ledger: Ledger, options: argparse.Namespace) -> None:
    """Ask for the environment's name before anything is removed. Raises Refused."""
    if options.yes or not tasks(ledger, "action != 'locked'"):
        return
    if not sys.stdin.isatty():
        raise Refused(
            "erase asks for the environment's name, and there is no terminal. To answer it beforehand, add --yes: "
            f"./deploy.sh erase {pipeline.name} --yes ..."
        )
    before = on_signals(stop_now)
    try:
        confirm("This removes versions for good; nothing brings them back.", pipeline.name)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def reported(
    pipeline: Pipeline, ledger: Ledger, patients: Patients | None, options: argparse.Namespace
) -> dict[str, Any]:
    """Look again, and return the report. It names keys and versions, and never a patient."""
    objects = list(prove(pipeline, ledger, patients))
    unread = "('archived', 'unreadable', 'text')" if options.keep_rejected else "('archived', 'unreadable')"
    not_searched = [
        {**place, "why": held.state}
        for held in noted(ledger, f"state in {unread}")
        if (place := still_there(pipeline, held.version))
    ]
    asked: dict[str, Any] = {"keys": options.key}
    if patients:
        asked = {"patients": len(patients.ids), "prefix": options.prefix}
    return {
        "environment": pipeline.name,
        "by": pipeline.client("sts").get_caller_identity()["Arn"],
        "began": iso(ledger.get("began")),
        "ended": iso(time.time()),
        "asked": asked,
        "searched_versions": ledger.get("done", 0),
        "objects": objects,
        "not_searched": not_searched,
        "events": events(pipeline, ledger),
        "elsewhere": ELSEWHERE,
        "complete": not not_searched and not any(one["remains"] for one in objects),
    }


def still_there(pipeline: Pipeline, version: Version) -> dict[str, Any] | None:
    """Return a version as the report names it, None when it is gone."""
    try:
        pipeline.s3.head_object(Bucket=version.bucket, Key=version.key, VersionId=version.version_id)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":
            return None
        raise
    return {"key": version.key, "bucket": role(pipeline, version.bucket), "version_id": version.version_id}


def show_report(report: dict[str, Any], *, as_json: bool) -> None:
    """Show a report: what was done about each key, what remains, and what to do about that."""
    objects = report["objects"]
    removed = sum(len(one["removed"]) for one in objects)
    if as_json:
        for one in objects:
            out(**one)
        about = {name: value for name, value in report.items() if name != "objects"}
        out(summary=about | {"removed": removed}, ok=report["complete"])
        return
    for one in objects:
        made = f"  new version {one['made']}" if one["made"] else ""
        print(f"{one['state']:8}  {printable(one['key'])}{made}  {count(len(one['removed']), 'version')} removed")
        for rest in one["remains"]:
            where = " ".join(str(value) for name, value in rest.items() if name not in ("why", "delete_marker"))
            print(f"          remains: {where}  {rest['why']}")
    for one in report["not_searched"]:
        print(f"{one['why']:8}  {printable(one['key'])}  {one['bucket']} {one['version_id']}  not searched")
    print(f"Removed {count(removed, 'version')}, as {report['by']}.")
    waiting = report["events"]
    print(
        f"Events that name keys: {waiting['failed_about_these_keys']:,} about these in the dead-letter queue, "
        f"{waiting['waiting']:,} in the ingestion queue."
    )
    for line in report["elsewhere"]:
        print(line)
    if not objects and not report["not_searched"]:
        say("There was nothing to erase.")
    elif report["complete"]:
        say("Nothing remains.")
    else:
        say("Something remains, for the reasons above. Deal with them, then run the command again.")
