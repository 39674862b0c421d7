"""The emulator, with what the pipeline and its tests need beyond it. process.py starts it.

Events that S3 sends to an alias: the emulator looks up the on-failure destination only on the function, and would lose
failed events. In AWS an alias has its own (Lambda developer guide, "Configuring error handling settings for
asynchronous invocations").

Parts of a version: for a range of a version of an object, the emulator returns the whole version.

Listings of versions: keys are encoded for a client that asks for it. Terraform decodes them in any case, and could not
empty a bucket with a plus or a percent sign in a key.

Calls: the file CALLS_LOG gets a line for each principal and action that IAM allows, as CloudTrail would record them.

Processes of functions: a package is unpacked once, not for each of them. A function has no more of them at work than
there is room for on the machine; the emulator would start one for each event of a burst.

Idle clients: one that keeps its connection open would delay the stop for longer than anybody waits.

HTTP/2: not offered; AWS's own endpoints for these services do not offer it either. The emulator's server would close a
connection after 1,000 requests, with others in flight.

Open files: as many as the machine allows, for many connections.
"""

import contextlib
import hashlib
import os
import resource
import sys
import tempfile
import threading
import zipfile
from asyncio import constants
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hypercorn.config import Config
from ministack.app import app as app
from ministack.core import iam_evaluator, lambda_runtime
from ministack.services import lambda_svc, s3

from local_aws import emulator_ec2 as emulator_ec2
from local_aws import emulator_iam as emulator_iam

ENCODED = ("Key", "Prefix", "Delimiter", "KeyMarker", "NextKeyMarker")
AT_ONCE = 2 * (os.cpu_count() or 1)  # invocations of a function

_calls: set[str] = set()
_unpacking = threading.Lock()
_room: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(AT_ONCE))
_invoke = lambda_svc.invoke_async_with_retry
_get_object = s3._get_object
_list_versions = s3._list_object_versions
_evaluate = iam_evaluator.evaluate
_execute = lambda_svc._execute_function


class _Package(zipfile.ZipFile):
    """The package of a function or a layer, from which the emulator makes a folder for each process."""

    def namelist(self) -> list[str]:
        return []  # the emulator looks at each name first, though extractall lets none leave its folder

    def extractall(self, path: Any = None, *_: Any) -> None:
        """Make the folder a link to one that holds the package's files. As in Lambda, nobody may write to them."""
        digest = hashlib.sha256(Path(str(self.filename)).read_bytes()).hexdigest()
        unpacked = Path(tempfile.gettempdir(), f"package-{digest}")
        with _unpacking:
            if not unpacked.exists():
                unfinished = Path(tempfile.mkdtemp())
                super().extractall(unfinished, super().namelist())
                unfinished.rename(unpacked)
        Path(path).rmdir()
        Path(path).symlink_to(unpacked)


def _execute_when_there_is_room(function: dict[str, Any], event: Any) -> Any:
    with _room[function["config"]["FunctionName"]]:
        return _execute(function, event)


def _invoke_alias(function: dict[str, Any], event: dict[str, Any]) -> None:
    config = function["config"]
    base = lambda_svc._functions[config["FunctionName"]]
    for name, alias in base["aliases"].items():
        if alias["FunctionVersion"] == config["Version"]:
            function = function | {"event_invoke_config": base["event_invoke_configs"].get(name)}
    _invoke(function, event)


def _get_part(bucket: str, key: str, headers: dict[str, str], query: dict[str, Any] | None = None) -> Any:
    status, answer, body = _get_object(bucket, key, headers, query)
    if status == 200 and (part := s3._parse_range(headers.get("range", ""), len(body))):
        start, end = part
        answer["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
        status, body = 206, body[start : end + 1]
        answer["Content-Length"] = str(len(body))
    return status, answer, body


def _list_versions_encoded(bucket: str, query: dict[str, Any]) -> Any:
    status, answer, body = _list_versions(bucket, query)
    if status == 200 and s3._qp(query, "encoding-type", "") == "url":
        listing = ElementTree.fromstring(body)  # noqa: S314 - the emulator has just written it
        for element in listing.iter():
            if element.text and element.tag.rpartition("}")[2] in ENCODED:
                element.text = s3._url_encode(element.text)
        ElementTree.SubElement(listing, f"{{{s3.S3_NS}}}EncodingType").text = "url"
        body = ElementTree.tostring(listing, encoding="utf-8", xml_declaration=True, default_namespace=s3.S3_NS)
    return status, answer, body


def _evaluate_and_record(context: Any, *policies: Any) -> Any:
    result = _evaluate(context, *policies)
    call = f"{context.principal_arn} {context.action}\n"
    if result.decision == "Allow" and call not in _calls:
        _calls.add(call)
        with Path(os.environ["CALLS_LOG"]).open("a") as log:
            log.write(call)
    return result


_, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (_most_files, _most_files))
Config.alpn_protocols = ["http/1.1"]
constants.SSL_SHUTDOWN_TIMEOUT = 1.0  # seconds
lambda_svc.invoke_async_with_retry = _invoke_alias
lambda_svc._execute_function = _execute_when_there_is_room
lambda_runtime.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": _Package})
s3._get_object = _get_part
s3._list_object_versions = _list_versions_encoded
iam_evaluator.evaluate = _evaluate_and_record
