"""Compare two versions of the handler: kinds of files, a batch of small files, a large file, start and memory.

The older one is taken from the history: `python versions.py [REVISION]`. Both talk over TLS to a stand-in for S3 on
127.0.0.1, which answers each request after 25 ms, so what differs is how long they wait and what they compute. Rounds
are interleaved and medians shown, of kinds of files the best.
"""

import asyncio
import base64
import contextlib
import importlib.util
import io
import itertools
import json
import math
import multiprocessing
import os
import re
import resource
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

import files
from s3_path import Context

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "3329329"
FILES, ROUNDS, BATCHES = 10, 5, 40
LARGE_MB, HUGE_MB = 100, 1000
FRAMINGS, KIND_MB = 3, 30
KINDS = [f"{shape}-compact" for shape in files.SHAPES] + ["flat-pretty", "nested-pretty"]
ANSWER_SECONDS = 0.025
RAW, SMALL = "bench-raw", (ROOT / "ikerian_sample.json").read_bytes()
RECORD = b'{"patient_id":"1000000","patient_name":"Jane Roe","scan_date":"2026-01-31","diagnosis":"Normal"},'
MEGABYTE = RECORD * math.ceil(1e6 / len(RECORD))


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
            if method == "GET" and (size := megabytes(path)):
                client.write(b"[")
                for _ in range(size):
                    client.write(MEGABYTE)
                    await client.drain()
                client.write(RECORD[:-1] + b"]")
            await client.drain()
    client.close()


def megabytes(path: str) -> int:
    """Return the size of the raw object of a path such as /bench-raw/in/100-MB-1.json, 0 for any other path."""
    size = re.fullmatch(rf"/{RAW}/in/(\d+)-MB-.*", path)
    return int(size[1]) if size else 0


async def read_body(server: asyncio.StreamReader, head: str) -> None:
    """Read what follows the head of a request, of a known length or in chunks."""
    for line in head.splitlines():
        if line.startswith("content-length:"):
            left = int(line.partition(":")[2])
            while left:  # in pieces, as the other kind: one large buffer would take the stand-in longer
                data = await server.read(min(left, 65536))
                if not data:
                    raise ConnectionError
                left -= len(data)
    if "transfer-encoding: chunked" in head:
        while size := int(await server.readline(), 16):
            await server.readexactly(size + 2)
        while (await server.readline()).strip():  # trailers
            pass


def answer(method: str, path: str) -> bytes:
    """Return S3's response: the raw object, its headers, no verdicts, or success."""
    headers = {"ETag": '"e"', "x-amz-version-id": "v", "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    if path.startswith(f"/{RAW}/"):
        if size := megabytes(path):
            return response("200 OK", headers | {"Content-Length": str(size * len(MEGABYTE) + len(RECORD) + 1)})
        if method == "GET":
            checksum = base64.b64encode(zlib.crc32(SMALL).to_bytes(4)).decode()
            headers |= {"x-amz-checksum-crc32": checksum, "x-amz-checksum-type": "FULL_OBJECT"}
        return response("200 OK", headers | {"Content-Length": str(len(SMALL))}, SMALL if method == "GET" else b"")
    if method == "HEAD":
        return response("404 Not Found", {})
    body = b""
    if method == "GET":
        body = b"<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
    elif path.endswith("?uploads"):
        body = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    elif method == "POST":
        body = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
    return response("200 OK", headers | {"Content-Length": str(len(body))}, body)


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


def event(size: int = 0) -> dict[str, Any]:
    """Return an event that names an object, small or of that many MB."""
    name = f"{size}-MB-{time.time_ns()}" if size else str(time.time_ns())
    return {"Records": [{"s3": {"bucket": {"name": RAW}, "object": {"key": f"in/{name}.json"}}}]}


def batch(size: int = 0) -> dict[str, Any]:
    """Return the batch of events that an event source mapping hands over."""
    messages = [{"messageId": str(n), "eventSource": "aws:sqs", "body": json.dumps(event(size))} for n in range(FILES)]
    return {"Records": messages}


def measure(handler: str, what: str) -> dict[str, float]:
    """Return figures of the handler in a file: times in milliseconds, memory in MB.

    what: memory, times, or the path of a file to be framed, validated and cut down without S3.
    """
    spec = importlib.util.spec_from_file_location("lambda_function", handler)
    assert spec
    assert spec.loader
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["lambda_function"] = module
    began = time.perf_counter()
    spec.loader.exec_module(module)
    start = 1000 * (time.perf_counter() - began)
    if what not in ("memory", "times"):
        spent = []
        for _ in range(FRAMINGS):
            cpu = time.process_time()
            for batch_ in batches(module, what):
                module.cut_down(batch_)
            spent.append(1000 * (time.process_time() - cpu))
        return {"cpu": min(spent)}

    def run(event: dict[str, Any]) -> tuple[float, float]:
        began, cpu = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            answer = module.lambda_handler(event, Context())
        assert answer in (None, {"batchItemFailures": []}), answer
        return 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - cpu)

    for _ in range(5):
        run(batch())
    if what == "memory":
        baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run(batch(HUGE_MB))
        return {"memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - baseline) * 1024 / 1e6}
    walls, cpus = zip(*(run(batch()) for _ in range(BATCHES)), strict=True)
    large = [run(event(LARGE_MB)) for _ in range(3)]
    return {
        "start": start,
        "batch": statistics.median(walls),
        "cpu": statistics.mean(cpus) / FILES,
        "large": statistics.median(wall for wall, _ in large) / LARGE_MB,
        "large_cpu": statistics.median(cpu for _, cpu in large) / LARGE_MB,
    }


def batches(module: Any, path: str) -> Iterator[Any]:
    """Yield the records of a file, by the framer of either version."""
    with Path(path).open("rb", buffering=0) as file:
        pieces = iter(lambda: file.read(module.READ_BYTES), b"")
        if not hasattr(module.Framer, "feed"):
            yield from module.Framer(pieces).batches()
            return
        framer = module.Framer()
        for piece in itertools.chain(pieces, [b""]):
            framer.feed(piece, last=not piece)
            yield from iter(framer.take, [])


FIGURES = {
    "batch": f"a batch of {FILES} small files, ms",
    "cpu": "processor time of a small file, ms",
    "large": f"a MB of a file of {LARGE_MB} MB, ms",
    "large_cpu": "processor time of it, ms",
    "start": "loading the handler, ms",
}


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

        def measured(handler: str, what: str) -> dict[str, float]:
            command = [sys.executable, __file__, "--measure", handler, what]
            run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            figures: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
            return figures

        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in handlers}
        for _ in range(ROUNDS):
            for version, path in handlers.items():
                rounds[version].append(measured(path, "times"))
        memory = measured(handlers["now"], "memory")["memory"]
        kinds: dict[str, dict[str, list[float]]] = {}
        for kind in KINDS:
            sample = files.make(f"{kind}-{KIND_MB}", folder)
            kinds[kind] = {version: [] for version in handlers}
            for _ in range(ROUNDS):
                for version, handler in handlers.items():
                    kinds[kind][version].append(measured(handler, str(sample))["cpu"])
            sample.unlink()
    print(f"\nTwo versions of the handler, {1000 * ANSWER_SECONDS:.0f} ms for each answer of S3")
    print(f"  {'':<40}{revision:>10}{'now':>8}{'ratio':>8}")
    for what, label in FIGURES.items():
        before, now = (statistics.median(run[what] for run in rounds[version]) for version in handlers)
        print(f"  {label:<40}{before:>10.1f}{now:>8.1f}{now / before:>8.2f}")
    for kind, cpus in kinds.items():
        before, now = (min(cpus[version]) for version in handlers)  # noise only adds
        label = f"framing and cutting down, {kind}, MB/s"
        print(f"  {label:<40}{KIND_MB / before * 1000:>10.0f}{KIND_MB / now * 1000:>8.0f}{before / now:>8.2f}")
    print(f"  memory for a batch of {FILES} files of {HUGE_MB:,} MB, above a batch of small ones: {memory:.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main()
