"""How fast patients are found: against only reading the same objects, and against the handler's own framing.

A stand-in for S3 on 127.0.0.1 lists and serves 10,000 objects of 100 kB. Both ways read them with as many connections;
each round runs in a process of its own, rounds are interleaved and medians shown.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from versions import response

ROOT = Path(__file__).resolve().parents[2]
OBJECTS, OBJECT_BYTES, PAGE, ROUNDS = 10_000, 100_000, 1000, 3
LARGE_BYTES = 60_000_000
MATCHES = 100  # one in so many objects holds a patient who is asked about
ID = "PAT-0000000"
NAMES = {"plain": "Jane Roe", "with escapes": "J\\u00e4ne Roe"}  # of all patients, as JSON has them
KEPT = 200  # different objects that the stand-in serves


def records(size: int, seed: int, first: str, name: str = "Jane Roe") -> bytes:
    """Return a file of about that size; its first record is of the patient with that id, the others of anybody."""
    choices, found, length = random.Random(seed), list[str](), 2
    while length < size:
        one = first if not found else f"PAT-{choices.randrange(1, 10**7):07}"
        found.append(
            f'{{"patient_id":"{one}","patient_name":"{name}","scan_date":"2026-01-31",'
            f'"retina_thickness_microns":{choices.randrange(200, 300)}.5,"diagnosis":"Normal"}}'
        )
        length += len(found[-1]) + 1
    return f"[{','.join(found)}]".encode()


def listing(start: int) -> bytes:
    """Return a page of the list of versions."""
    numbers = range(start, min(start + PAGE, OBJECTS))
    versions = "".join(
        f"<Version><Key>in/{n:06}.json</Key><VersionId>v</VersionId><IsLatest>true</IsLatest><ETag>&quot;e&quot;</ETag>"
        f"<LastModified>2026-01-31T00:00:00.000Z</LastModified><Size>1</Size></Version>"
        for n in numbers
    )
    more = numbers.stop < OBJECTS
    marker = f"<NextKeyMarker>in/{numbers.stop - 1:06}.json</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>"
    truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>{marker if more else ''}"
    return f"<ListVersionsResult>{truncated}{versions}</ListVersionsResult>".encode()


def run_server(told: Connection, name: str) -> None:
    """Serve until the process is ended; tell the port."""
    headers = {"ETag": '"e"', "x-amz-version-id": "v", "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    bodies = [records(OBJECT_BYTES, n, ID if n % MATCHES == 0 else "PAT-1", name) for n in range(KEPT)]
    objects = [response("200 OK", headers | {"Content-Length": str(len(body))}, body) for body in bodies]

    def answer(path: str) -> bytes:
        if "versions" not in path:
            return objects[int(path.partition("in/")[2][:6]) % KEPT]
        after = path.partition("key-marker=in%2F")[2][:6]
        body = listing(int(after) + 1 if after else 0) if "bench-raw" in path else b"<ListVersionsResult/>"
        return response("200 OK", {"Content-Length": str(len(body))}, body)

    async def serve(server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await server.readuntil(b"\r\n\r\n")).decode()
                client.write(answer(head.split(" ", 2)[1]))
                await client.drain()
        client.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextlib.contextmanager
def endpoint(name: str) -> Iterator[str]:
    """Run the stand-in for S3 in a process of its own; yield its address. name: that of all patients, as in JSON."""
    told, port = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=run_server, args=(port, name), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{told.recv()}"
    finally:
        server.terminate()
        server.join()


class Pipeline:
    """The part of a pipeline that the search uses."""

    raw, processed = "bench-raw", "bench-processed"

    def __init__(self) -> None:
        import boto3
        from commands.aws import WORK

        make: Any = boto3.client
        self.s3 = make("s3", config=WORK)

    def client(self, _: str) -> Any:
        """Return the client of S3."""
        return self.s3


def measure(what: str) -> dict[str, float]:
    """Read or search all objects. Returns seconds and the most memory, in MB."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from commands.operate import find
    from commands.operate.ledger import Ledger
    from commands.operate.objects import each

    pipeline: Any = Pipeline()
    began = time.perf_counter()
    if what == "find":
        ledger = Ledger()
        find.search(pipeline, ledger, find.Patients([ID]), "", rate=1e9)
        assert ledger.get("done") == OBJECTS
        assert ledger.one("select count(*) from held") == OBJECTS // MATCHES
    else:

        def read(version: find.Version) -> int:
            got = pipeline.s3.get_object(Bucket=version.bucket, Key=version.key, VersionId=version.version_id)
            return len(got["Body"].read())

        assert sum(1 for _ in each(read, find.versions(pipeline, ""), find.SIDE_BY_SIDE)) == OBJECTS
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}


def framing() -> None:
    """Compare counting a patient's records in a large file with the handler's framing of it."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from commands import handler
    from commands.operate import find

    code: Any = handler.load("the bench")
    data = records(LARGE_BYTES, 0, ID)
    pieces = [data[at : at + code.READ_BYTES] for at in range(0, len(data), code.READ_BYTES)]

    def frame(work: Callable[[Any], object]) -> None:
        for batch in code.Framer(iter(pieces)).batches():
            work(batch)

    many = find.Patients([f"PAT-{n:07}" for n in range(find.MOST_IDS)])
    ways: dict[str, Callable[[], object]] = {
        "the handler's framing": lambda: frame(lambda _: None),
        "the handler's framing and cutting down": lambda: frame(code.cut_down),
        "find, one id": lambda: find.count_records(code, find.Patients([ID]), iter(pieces)),
        f"find, {find.MOST_IDS:,} ids": lambda: find.count_records(code, many, iter(pieces)),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5 * ROUNDS):
        for name, work in ways.items():
            began = time.process_time()
            work()
            took[name].append(time.process_time() - began)
    print(f"\nA file of {len(data) / 1e6:.0f} MB, in processor time")
    own = statistics.median(took["the handler's framing"])
    for name, times in took.items():
        median = statistics.median(times)
        print(f"  {name:<40}{len(data) / 1e6 / median:>8.0f} MB/s{own / median:>8.2f}")


def main() -> None:
    """Compare, in turns."""
    for what, name in NAMES.items():
        with endpoint(name) as address:
            environment = os.environ | {
                "AWS_ENDPOINT_URL": address,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
            }

            def measured(way: str, environment: dict[str, str] = environment) -> dict[str, float]:
                command = [sys.executable, __file__, "--measure", way]
                run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                figures: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
                return figures

            found: dict[str, list[dict[str, float]]] = {"read": [], "find": []}
            for _ in range(ROUNDS):
                for way, figures in found.items():
                    figures.append(measured(way))
        read, search = (statistics.median(one["seconds"] for one in found[way]) for way in ("read", "find"))
        memory = max(one["memory"] for one in found["find"])
        print(f"\n{OBJECTS:,} objects of {OBJECT_BYTES // 1000} kB, {what}")
        print(f"  only read {read:.1f} s, find {search:.1f} s, ratio {search / read:.2f}; memory {memory:.0f} MB")
    framing()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main()
