"""The function's log: a line of JSON for each file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from commands.operate.ledger import Ledger
from commands.state import Pipeline
from commands.terminal import pause

if TYPE_CHECKING:
    from collections.abc import Iterator


LATE_SECONDS = 10.0  # how late a line may appear in the log
LOG_PAGE = 10_000  # log events in one page, the most that CloudWatch returns
OUTCOMES = ("processed", "rejected", "failed", "gone")  # what the function logs about a file


def log_lines(pipeline: Pipeline, since: float, term: str = "") -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield time, in seconds since the epoch, and content of the log's JSON lines, oldest first.

    With a term, only of lines that contain it.
    """
    request: dict[str, Any] = {"logGroupName": pipeline.log_group, "startTime": int(since * 1000)}
    if term:
        request["filterPattern"] = f'"{term}"'
    newest = same = skip = 0  # the newest timestamp so far, how many events have it, and how many of them to skip
    while True:
        page = pipeline.logs.filter_log_events(**request)
        before = (newest, same)
        for event in page["events"]:
            if skip and event["timestamp"] == newest:
                skip -= 1
                continue
            same = same + 1 if event["timestamp"] == newest else 1
            newest = event["timestamp"]
            if (line := parsed(event["message"])) is not None:
                yield newest / 1000, line
        pause(0)
        if token := page.get("nextToken"):
            request["nextToken"] = token
        elif len(page["events"]) < LOG_PAGE or before == (newest, same):
            return
        else:  # a full page without a token: the local AWS has no tokens
            request.pop("nextToken", None)
            request["startTime"], skip = newest, same


def parsed(text: str) -> Any:
    """Return the JSON object in a text, or None if it is something else or has a lone surrogate."""
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # escaped, a lone surrogate is valid JSON
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def outcomes(pipeline: Pipeline, since: float, term: str = "bytes_out") -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield time and content of the lines that the function logs, one for each file that it handles.

    The default `term` is in every such line; "ERROR" is in those of failed files.
    """
    for at, line in log_lines(pipeline, since, term):
        if line.get("message") in OUTCOMES and "bytes_out" in line:
            yield at, line


def note_failures(pipeline: Pipeline, ledger: Ledger, since: float, wanted: str) -> None:
    """Note why files failed, as far as the log goes back. `wanted` is the table with the keys that matter."""
    for _, line in outcomes(pipeline, since, "ERROR"):
        # A version's content never changes: once it is rejected, a later failure to read it says nothing new.
        ledger.db.execute(
            f"""
            insert into failure select :key, :version_id, :message, :reason, 1
                where exists (select 1 from {wanted} where key = :key)
            on conflict do update set times = times + 1,
                reason = iif(outcome = 'rejected' and excluded.outcome != 'rejected', reason, excluded.reason),
                outcome = iif(outcome = 'rejected', outcome, excluded.outcome)
            """,  # noqa: S608 - the name of a table, a constant
            {name: line[name] for name in ("key", "version_id", "message", "reason")},
        )
