"""Compare how two versions of the handler process a batch of small files.

The old one is taken from the history: `python batch.py [REVISION]`. Both talk over TLS to a stand-in for S3 on
127.0.0.1, which answers each request after 25 ms, so what differs is how long they wait and what they compute.
"""

import asyncio
import base64
import contextlib
import importlib.util
import io
import json
import multiprocessing
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from s3_path import Context

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "3329329"
FILES, ROUNDS, BATCHES = 10, 5, 40
ANSWER_SECONDS = 0.025
RAW, RECORDS = "bench-raw", (ROOT / "ikerian_sample.json").read_bytes()


async def serve(server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await server.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            if "expect: 100-continue" in head.lower():
                client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await read_body(server, head.lower())
            await asyncio.sleep(ANSWER_SECONDS)
            client.write(answer(method, path))
            await client.drain()
    client.close()


async def read_body(server: asyncio.StreamReader, head: str) -> None:
    """Read what follows the head of a request, of a known length or in chunks."""
    for line in head.splitlines():
        if line.startswith("content-length:"):
            await server.readexactly(int(line.partition(":")[2]))
    if "transfer-encoding: chunked" in head:
        while size := int(await server.readline(), 16):
            await server.readexactly(size + 2)
        while (await server.readline()).strip():  # trailers
            pass


def answer(method: str, path: str) -> bytes:
    """Return what S3 answers: the raw object, what it tells of it, that there is no verdict, or that all is well."""
    if path.startswith(f"/{RAW}/"):
        body = RECORDS if method == "GET" else b""
        checksum = base64.b64encode(zlib.crc32(RECORDS).to_bytes(4)).decode()
        headers = {"ETag": '"e"', "x-amz-version-id": "v", "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        headers |= {"Content-Length": str(len(RECORDS))}
        if method == "GET":
            headers |= {"x-amz-checksum-crc32": checksum, "x-amz-checksum-type": "FULL_OBJECT"}
        return response("200 OK", headers, body)
    if method == "HEAD":
        return response("404 Not Found", {})
    return response("200 OK", {"ETag": '"e"', "x-amz-version-id": "v", "Content-Length": "0"})


def response(status: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Return an answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status}", "x-amz-request-id: r", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def run_server(folder: str, told: Connection) -> None:
    """Serve until the process is ended; tell the port."""

    async def main() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(f"{folder}/server.pem", f"{folder}/server.key")
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextlib.contextmanager
def endpoint(folder: Path) -> Iterator[str]:
    """Run the stand-in for S3 in a process of its own; yield its address."""
    certificate = [str(ROOT / ".venv/local-aws/bin/python"), "-P", "-m", "trustme", "--quiet"]
    subprocess.run([*certificate, "--identities", "127.0.0.1", "--dir", str(folder)], check=True)
    told, port = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=run_server, args=(str(folder), port), daemon=True)
    server.start()
    try:
        yield f"https://127.0.0.1:{told.recv()}"
    finally:
        server.terminate()
        server.join()


def batch() -> dict[str, Any]:
    """Return the batch that an event source mapping hands over."""
    messages = []
    for n in range(FILES):
        event = {"Records": [{"s3": {"bucket": {"name": RAW}, "object": {"key": f"in/{n}-{time.time_ns()}.json"}}}]}
        messages.append({"messageId": str(n), "eventSource": "aws:sqs", "body": json.dumps(event)})
    return {"Records": messages}


def measure(handler: str) -> dict[str, float]:
    """Return milliseconds of a batch, and of processor time of a file, of the handler in a file."""
    spec = importlib.util.spec_from_file_location("lambda_function", handler)
    assert spec
    assert spec.loader
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["lambda_function"] = module
    spec.loader.exec_module(module)

    def run() -> tuple[float, float]:
        event, began, cpu = batch(), time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            answer = module.lambda_handler(event, Context())
        assert answer == {"batchItemFailures": []}, answer
        return 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - cpu) / FILES

    for _ in range(5):
        run()
    walls, cpus = zip(*(run() for _ in range(BATCHES)), strict=True)
    return {"batch": statistics.median(walls), "cpu": statistics.mean(cpus)}


def main() -> None:
    """Compare, in turns."""
    revision = sys.argv[1] if len(sys.argv) > 1 else BEFORE
    with tempfile.TemporaryDirectory() as name, endpoint(Path(name)) as address:
        folder = Path(name)
        old = subprocess.run(
            ["git", "show", f"{revision}:lambda_function.py"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        (folder / "before.py").write_text(old)
        handlers = {revision: str(folder / "before.py"), "now": str(ROOT / "lambda_function.py")}
        environment = os.environ | {
            "AWS_ENDPOINT_URL": address,
            "AWS_CA_BUNDLE": f"{folder}/client.pem",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "PROCESSED_BUCKET": "bench-processed",
            "REJECTED_BUCKET": "bench-rejected",
            "POWERTOOLS_LOG_LEVEL": "CRITICAL",
        }
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in handlers}
        for _ in range(ROUNDS):
            for version, path in handlers.items():
                command = [sys.executable, __file__, "--measure", path]
                run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                rounds[version].append(json.loads(run.stdout.splitlines()[-1]))
    figures = {
        version: {what: statistics.median(run[what] for run in runs) for what in runs[0]}
        for version, runs in rounds.items()
    }
    print(f"\nA batch of {FILES} small files, {1000 * ANSWER_SECONDS:.0f} ms for each answer of S3")
    print(f"  {'':<28}{revision:>10}{'now':>8}{'ratio':>8}")
    for what, label in (("batch", "a batch, ms"), ("cpu", "processor time of a file, ms")):
        before, now = figures[revision][what], figures["now"][what]
        print(f"  {label:<28}{before:>10.1f}{now:>8.1f}{now / before:>8.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main()
