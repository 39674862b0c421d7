"""The command line: ./deploy.sh VERB [ENV] [OPTION...].

Exit codes: 0, all is done and well; 1, something is not, or the command was refused; 2, the command line is wrong;
128 plus the signal's number, after a signal.

Nothing heavy is imported until a verb needs it, so help and refusals answer immediately.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sqlite3
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from commands import environment
from commands.terminal import (
    Interrupted,
    Refused,
    Stopped,
    on_signals,
    say,
    stop_at_safe_place,
    stop_now,
    stopping,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from commands.state import Pipeline

IN_FLIGHT_MINUTES = 15.0  # how long an upload may be under way before it counts as missing
RATE = 100.0  # objects per second that are sent again
READ_RATE = 1000.0  # versions per second that are searched for patients
WAIT_SECONDS = 300.0  # how long redrive waits for outcomes
ERASE_WAIT_SECONDS = 900.0  # how long erase waits for the results of rewritten files


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line. verbs: the parsers of the verbs, by name."""

    verbs: dict[str, Parser]

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        say(f"error: {self.prog}: {message}. {self.prog} --help shows what it takes.")
        sys.exit(2)


def filled(text: str) -> str:
    """Return a text that is not empty. Raises ArgumentTypeError."""
    if text:
        return text
    raise argparse.ArgumentTypeError("it is empty")


def positive(text: str) -> float:
    """Return a number above 0. Raises ArgumentTypeError."""
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"{text} is not a number above 0")


def not_negative(text: str) -> float:
    """Return a number that is not below 0. Raises ArgumentTypeError."""
    with contextlib.suppress(ValueError):
        if 0 <= (number := float(text)) < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"{text} is not 0 or a number above it")


def parser() -> Parser:
    """Return the parser of the command line."""
    top = Parser(
        prog="./deploy.sh",
        usage="./deploy.sh [VERB] [ENV] [OPTION...]",
        description="Deploy and operate the pipelines that the files in env/ describe. Without a verb: deploy ENV.",
        epilog="ENV is dev unless it is given. ./deploy.sh VERB --help explains a verb and its options.",
        allow_abbrev=False,
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", prog="./deploy.sh", parser_class=Parser)

    def verb(name: str, work: str, summary: str, usage: str = "[ENV] [OPTION...]") -> Parser:
        added = verbs.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            usage=f"./deploy.sh {name} {usage}".rstrip(),
            allow_abbrev=False,
        )
        added.set_defaults(work=work, on_pipeline=False)
        return added

    def change(name: str, work: str, summary: str) -> Parser:
        added = verb(name, work, summary)
        added.add_argument("name", nargs="?", default="dev", metavar="ENV", help="file in env/; %(default)s")
        return added

    def destructive(added: Parser) -> None:
        added.add_argument("--allow-data-loss", action="store_true", help="let a plan delete data or access")

    def operate(name: str, work: str, summary: str, usage: str = "[ENV] [OPTION...]", safely: bool = True) -> Parser:
        added = verb(name, work, summary, usage)
        added.add_argument(
            "name", nargs="?", default="dev", metavar="ENV", help="file in env/ or an entry of one; %(default)s"
        )
        added.set_defaults(on_pipeline=True, stops_safely=safely)
        return added

    def rate(added: Parser) -> None:
        added.add_argument(
            "--rate", type=positive, default=RATE, metavar="N", help="objects per second to send, %(default)g"
        )

    as_json: dict[str, Any] = {"action": "store_true", "help": "one JSON object a line, the summary last"}
    resume: dict[str, Any] = {"action": "store_true", "help": "resume where the same command was stopped"}

    added = verb(
        "local",
        "local:local",
        "run the whole pipeline on this machine: no AWS account, no Docker",
        "[--keep|--stop]",
    )
    either = added.add_mutually_exclusive_group()
    either.add_argument("--keep", action="store_true", help="leave the local AWS running, and print how to use it")
    either.add_argument("--stop", action="store_true", help="stop the local AWS that was kept")

    added = verb("check", "check:check_files", "check before an upload whether files would be accepted", "FILE...")
    added.add_argument("files", nargs="+", metavar="FILE")

    verb("build", "deploy:build_packages", "build the function and layer packages into build/", "")

    destructive(
        change("bootstrap", "deploy:bootstrap", "make or update what an account needs once: state bucket, roles")
    )
    change("plan", "deploy:plan_environment", "show what a deploy would change, and keep the plan for apply")
    destructive(change("apply", "deploy:apply", "apply exactly what the last plan showed"))
    destructive(change("deploy", "deploy:deploy", "build, plan, apply, and smoke-test the result"))

    added = operate(
        "rollback",
        "rollback:rollback",
        "go back to the previous version of the function, without a build",
        "[ENV] [VERSION]",
        safely=False,
    )
    added.add_argument("version", nargs="?", metavar="VERSION", help="the version to go to, if not the previous one")

    added = change("drift", "deploy:drift", "report whether AWS has drifted from the code; exit code 1 if it has")
    added.add_argument("--issue", action="store_true", help="keep a GitHub issue about it")

    added = operate(
        "verify", "operate.verify:verify", "ask AWS whether what this project claims holds; exit code 1 if any does not"
    )
    added.add_argument("--json", **as_json)

    operate("status", "operate.verbs:status", "show one screen: version, last file, the last hour, queues, alarms")

    added = operate("logs", "operate.verbs:logs", "follow the function's log, a line for each file")
    added.add_argument("--since", default="10m", metavar="T", help="where to start: 10m, 2h, 2026-01-31; %(default)s")
    added.add_argument("--once", action="store_true", help="show the lines that exist and exit")

    added = operate(
        "audit", "operate.verbs:audit", "report the outcome of every upload; exit code 1 if any is missing or wrong"
    )
    added.add_argument("--json", **as_json)
    added.add_argument("--prefix", default="", metavar="P", help="only keys that begin with this")
    added.add_argument("--repair", action="store_true", help="send what is missing or wrong through the pipeline again")
    added.add_argument("--remove-orphans", action="store_true", help="delete the results whose source is gone")
    rate(added)
    added.add_argument("--deep", action="store_true", help="make every result again from its source and compare it")
    added.add_argument(
        "--inventory",
        default="",
        metavar="URI",
        help="read this inventory, s3://.../manifest.json, instead of listing the raw bucket",
    )
    added.add_argument(
        "--in-flight", type=not_negative, default=IN_FLIGHT_MINUTES, metavar="MINUTES",
        help="how long an upload may be under way, %(default)g",
    )  # fmt: skip
    added.add_argument("--resume", **resume)

    added = operate(
        "failures", "operate.verbs:failures", "show the failed events in the dead-letter queue, and leave them there"
    )
    added.add_argument("--json", **as_json)

    added = operate(
        "redrive", "operate.verbs:redrive", "send failed events back, and report the outcome of each object"
    )
    added.add_argument("--key", action="append", default=[], metavar="K", help="only this object; may be repeated")
    rate(added)
    added.add_argument("--dry-run", action="store_true", help="only show what would be sent back")
    added.add_argument(
        "--wait", type=not_negative, default=WAIT_SECONDS, metavar="SECONDS",
        help="how long to wait for the outcomes, %(default)g",
    )  # fmt: skip
    added.add_argument("--json", **as_json)

    added = operate(
        "reprocess",
        "operate.verbs:reprocess",
        "run existing raw objects through the pipeline again",
        "[ENV] --prefix P [OPTION...]",
    )
    added.add_argument("--prefix", required=True, metavar="P", help="only keys that begin with this; '' for all")
    added.add_argument("--since", default="", metavar="T", help="only what was uploaded since: 7d, 12h, 2026-01-31")
    rate(added)
    added.add_argument("--resume", **resume)

    added = operate(
        "restore",
        "operate.verbs:restore",
        "bring back an upload that was deleted, or an older version of it",
        "[ENV] --key K [--version ID]",
        safely=False,
    )
    added.add_argument("--key", required=True, type=filled, metavar="K", help="the object; --key=-K for a leading dash")
    added.add_argument("--version", type=filled, metavar="ID", help="copy this version over the newest one")

    patients: dict[str, Any] = {"default": "", "metavar": "FILE", "help": "file with patient ids, one a line"}
    read_rate: dict[str, Any] = {"type": positive, "default": READ_RATE, "metavar": "N"}
    read_rate["help"] = "versions per second to read, %(default)g"

    added = operate(
        "find", "operate.find:find", "list the files that hold patients; ids come from standard input or a file"
    )
    added.add_argument("--patients", **patients)
    added.add_argument("--json", **as_json)
    added.add_argument("--prefix", default="", metavar="P", help="only keys that begin with this")
    added.add_argument("--since", default="", metavar="T", help="only what was written since: 7d, 12h, 2026-01-31")
    added.add_argument("--rate", **read_rate)
    added.add_argument("--resume", **resume)

    added = operate(
        "erase",
        "operate.erase:erase",
        "remove uploads, or the records of patients, with every older version and result, and report what remains",
        "[ENV] (--key K | --patients FILE) [OPTION...]",
    )
    either = added.add_mutually_exclusive_group(required=True)
    either.add_argument(
        "--key", action="append", default=[], type=filled, metavar="K", help="everything under this key; repeatable"
    )
    either.add_argument("--patients", **(patients | {"type": filled, "default": None}))
    added.add_argument("--prefix", default="", metavar="P", help="with --patients: only keys that begin with this")
    added.add_argument("--keep-rejected", action="store_true", help="leave rejected files alone, and report them")
    added.add_argument("--rate", **read_rate)
    added.add_argument(
        "--wait", type=not_negative, default=ERASE_WAIT_SECONDS, metavar="SECONDS",
        help="how long to wait for the results of rewritten files, %(default)g",
    )  # fmt: skip
    added.add_argument("--report", type=filled, metavar="FILE", help="write the report into a new file")
    added.add_argument("--json", **as_json)
    added.add_argument("--yes", action="store_true", help="do not ask")
    added.add_argument("--resume", **resume)

    added = change("destroy", "deploy:destroy", "remove an environment")
    added.add_argument("--yes", action="store_true", help="do not ask")

    added = verb(
        "unlock",
        "deploy:unlock",
        "release the lock of a killed deploy, and import what it created last",
        "ENV ID [--bootstrap]",
    )
    added.add_argument("name", metavar="ENV", help="file in env/")
    added.add_argument("id", metavar="ID", help="the lock ID that the refused deploy printed")
    added.add_argument("--bootstrap", action="store_true", help="the lock is on the state of bootstrap")

    verb("help", "", "show this", "")
    top.verbs = dict(verbs.choices)
    return top


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse a command line. Without a verb it is a deploy. Exits if it is wrong."""
    top = parser()
    first = arguments[0] if arguments else ""
    if first not in top.verbs and (not arguments or first in environment.names()):
        arguments = ["deploy", *arguments]
    elif first.startswith("-") and len(arguments) > 1:
        top.error("the verb or the environment comes first")
    elif first not in top.verbs and not first.startswith("-"):
        top.error(f"unknown verb or environment: {first}")
    options, odd = top.parse_known_args(arguments)
    if odd and options.verb in ("find", "erase"):  # it may be the id of a patient
        top.verbs[options.verb].error(
            "unexpected argument. Patient ids come from a file, so that no history keeps them"
        )
    if odd:
        top.verbs.get(options.verb, top).error(f"unexpected argument: {odd[0]}")
    return options


def run(arguments: list[str]) -> int:
    """Do what the command line says. Returns the exit code. Raises Refused, Interrupted, Stopped."""
    options = parse(arguments)
    if options.verb in (None, "help"):
        parser().print_help()
        return 0
    if "name" in options:  # before the SDK is loaded, so that a fault in the files is reported immediately
        if not options.name:
            raise Refused('the name of the environment is empty. If you typed "$ENV", set ENV first.')
        resolve = environment.holding if options.on_pipeline else environment.Environment.read
        options.environment = resolve(options.name)
    module, _, function = options.work.partition(":")
    work = getattr(importlib.import_module(f"commands.{module}"), function)
    return on_pipeline(work, options) if options.on_pipeline else on_files(work, options)


def on_files(work: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Do the work of a verb that needs no deployed pipeline. Returns the exit code. Raises Refused."""
    from botocore.exceptions import BotoCoreError, ClientError

    from commands.operate.errors import explain

    try:
        return work(options)
    except (ClientError, BotoCoreError) as error:
        raise Refused(explain(error)) from None


def on_pipeline(work: Callable[[Pipeline, argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Do a verb's work on a deployed pipeline. Returns the exit code. Raises Refused."""
    from botocore.exceptions import BotoCoreError, ClientError

    from commands.operate.errors import explain
    from commands.state import find_pipeline

    pipeline = find_pipeline(options.name, options.environment)
    if options.stops_safely:
        stopping.clear()
        on_signals(stop_at_safe_place)
    try:
        return work(pipeline, options)
    except (ClientError, BotoCoreError) as error:
        raise Refused(explain(error, pipeline)) from None


def main(arguments: list[str]) -> int:
    """Do what the command line says, and tell the person at the terminal if that fails. Returns the exit code."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # in order with what Terraform prints
    on_signals(stop_now)
    try:
        return run(arguments)
    except Refused as refused:
        say(f"error: {refused}")
    except Interrupted:
        return 128 + stopping.number
    except Stopped as stopped:
        say(f"error: interrupted. {stopped.remedy}")
        return 128 + stopped.number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, sqlite3.Error) as error:  # a full disk, say
        say(f"error: {error}. Check the disk and the permissions of this folder, then run this again.")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
