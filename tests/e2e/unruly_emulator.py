"""The emulator on a bad day, for tests/e2e/test_chaos.py. LocalAws starts it in the emulator's place.

What a function asks of S3 comes late or fails now and then: throttled, broken, cut off in the middle of the answer, or
carried out and never answered. Notifications come late, so out of order, and some twice. /chaos reports the faults so
far, and how many events are still on their way to a function.

A function process that dies takes no other one with it, unlike in the emulator as it is. A message that failed comes
back after a second, not after the visibility timeout.
"""

import asyncio
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from local_aws.emulator import app as orderly
from ministack.core import lambda_runtime
from ministack.services import lambda_svc, s3

# Share of a function's calls.
FAULTS = {"late": 0.2, "throttled": 0.02, "server_error": 0.01, "cut_off": 0.02, "unanswered": 0.01}
TWICE = 0.1  # share of the notifications
LATE_SECONDS = 1.0  # at most: enough for an overwrite, or for another event of the same key, to come first
REDELIVERY_SECONDS = 1.0
DIED = "Worker process died"  # what the emulator says of a process that was killed at work

type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

done: Counter[str] = Counter()
_notify = s3._fire_s3_event
_run_batch = lambda_svc._run_sqs_batch
_invoke = lambda_runtime.Worker.invoke


def _notify_late_and_twice(*arguments: Any, **named: Any) -> None:
    done["notified"] += 1
    time.sleep(random.uniform(0, LATE_SECONDS))
    _notify(*arguments, **named)
    if random.random() < TWICE:
        done["notified_twice"] += 1
        time.sleep(random.uniform(0, LATE_SECONDS))
        _notify(*arguments, **named)


def _run_batch_and_return_soon(
    mapping: Any, function: Any, event: Any, batch: list[dict[str, Any]], *queue: Any
) -> None:
    try:
        _run_batch(mapping, function, event, batch, *queue)
    finally:  # however a run ends; those that are through are deleted
        for message in batch:
            message["visible_at"] = time.time() + REDELIVERY_SECONDS


def _invoke_or_fail(worker: Any, *arguments: Any, **named: Any) -> dict[str, Any]:
    try:
        result: dict[str, Any] = _invoke(worker, *arguments, **named)
    except (OSError, RuntimeError) as error:
        result = {"status": "error", "error": DIED, "reason": str(error)}
    if result.get("error") == DIED:
        done[f"died {worker.func_name}"] += 1
    return result


s3._fire_s3_event = _notify_late_and_twice
lambda_svc._run_sqs_batch = _run_batch_and_return_soon
lambda_runtime.Worker.invoke = _invoke_or_fail


class CutOff(Exception):  # noqa: N818 - what the server does, not what it suffers
    """Ends a connection in the middle of an answer."""


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer a request, or do not."""
    if scope["type"] != "http":
        await orderly(scope, receive, send)
    elif scope["path"] == "/chaos":
        # Whoever carries an event runs a context: a notification, an asynchronous invocation with its retries.
        on_the_way = sum(thread.name.endswith("(run)") for thread in threading.enumerate())
        await answer(send, 200, json.dumps({"done": done, "on_the_way": on_the_way}))
    elif not is_a_function_at_s3(scope) or not (fault := chosen()):
        await orderly(scope, receive, send)
    else:
        done[fault] += 1
        await fail(fault, scope, receive, send)


def is_a_function_at_s3(scope: dict[str, Any]) -> bool:
    """Return whether a request to S3 is signed with the credentials of a role, as a function's are."""
    signature = dict(scope["headers"]).get(b"authorization", b"")
    return b"Credential=ASIA" in signature and b"/s3/aws4_request" in signature


def chosen() -> str:
    """Return the fault of the next call, empty for none."""
    names, shares = list(FAULTS), list(FAULTS.values())
    return random.choices(["", *names], [1 - sum(shares), *shares])[0]


async def fail(fault: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer late or with a fault, or break the connection off."""
    if fault == "late":
        await asyncio.sleep(random.uniform(0, LATE_SECONDS))
        await orderly(scope, receive, send)
        return
    if fault in ("throttled", "server_error"):
        while (await receive()).get("more_body"):
            pass
        status, code = (503, "SlowDown") if fault == "throttled" else (500, "InternalError")
        await answer(send, status, f"<Error><Code>{code}</Code><Message>As the test wants it.</Message></Error>")
        return

    async def half(message: Message) -> None:
        if fault == "cut_off":
            if message["type"] == "http.response.start":
                await send(message)
                return
            body = message.get("body", b"")
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        raise CutOff

    await orderly(scope, receive, half)


async def answer(send: Send, status: int, body: str) -> None:
    """Send an answer of a few bytes."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/xml")]})
    await send({"type": "http.response.body", "body": body.encode()})
