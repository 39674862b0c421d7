"""A gRPC proxy in front of the AWS provider, which returns the schemas of only a few types.

python -m local_aws.provider.proxy EXECUTABLE SCHEMAS TYPE... starts the provider with the environment that it is called
with, prints the value of TF_REATTACH_PROVIDERS that attaches Terraform to it, and serves until its standard input ends.
All other calls pass through as bytes. Protocol:
https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol

SCHEMAS is the file that keeps the schemas of these types. A provider that is not asked for its schemas takes a third of
the time to start and a third of the memory; it says itself that it need not be (GetProviderSchemaOptional).
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from local_aws.provider.schemas import kept

LAST_LINES, LINE_BYTES = 200, 16 * 1024 * 1024
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Proxy(grpc.GenericRpcHandler):  # type: ignore[misc] # has no types
    """Hands each call on to the provider, and its answer back."""

    def __init__(self, provider: aio.Channel, schemas: Path, types: Collection[str]) -> None:
        self._provider, self._schemas, self._types = provider, schemas, types
        self._asking = asyncio.Lock()

    def service(self, call: Any) -> Any:
        """Return the handler of a method: None, for unknown, for go-plugin's streams, which Terraform does not need."""
        if call.method.startswith("/plugin."):
            return None
        forward = self._provider.unary_unary(call.method)

        async def handle(request: bytes, context: Any) -> bytes:
            try:
                if call.method.endswith("/GetSchema"):
                    async with self._asking:
                        return await kept(self._schemas, self._types, lambda: forward(request))
                return bytes(await forward(request))
            except aio.AioRpcError as error:
                await context.abort(error.code(), error.details())
                raise AssertionError("abort always raises") from None

        return grpc.unary_unary_rpc_method_handler(handle)


@contextlib.asynccontextmanager
async def provider(executable: str, folder: str) -> AsyncIterator[tuple[asyncio.Task[None], dict[str, Any]]]:
    """Start the provider; yield a task that ends when it does, and what it prints about how to attach to it."""
    environment = os.environ | {"TMPDIR": folder} | dict.fromkeys(("TF_LOG_SDK", "TF_LOG_PROVIDER_AWS"), "error")
    if bundle := environment.pop("AWS_CA_BUNDLE", ""):
        environment["SSL_CERT_FILE"] = bundle  # with AWS_CA_BUNDLE a provider fails when it is configured again
    process = await asyncio.create_subprocess_exec(
        *(executable, "-debug"), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment, limit=LINE_BYTES
    )
    said: deque[bytes] = deque(maxlen=LAST_LINES)  # it logs every step; its last lines say why it ends
    end = asyncio.create_task(keep(process.stderr, said))
    try:
        printed = b""
        while not (found := re.search(rb"TF_REATTACH_PROVIDERS='(.*)'", printed)):
            line = await process.stdout.readline() if process.stdout else b""
            if not line:
                await end
                sys.exit(f"the provider ended: {printed.decode(errors='replace')}{text(said)}")
            printed += line
        yield end, json.loads(found[1])
        if end.done():
            sys.exit(f"the provider ended: {text(said)}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def text(lines: Iterable[bytes]) -> str:
    """Return lines as text."""
    return b"".join(lines).decode(errors="replace")


async def keep(lines: asyncio.StreamReader | None, said: deque[bytes]) -> None:
    """Keep the last lines of a stream until it ends."""
    while lines and (line := await lines.readline()):
        said.append(line)


async def end_of_input() -> None:
    """Return once standard input has ended."""
    ended = asyncio.Event()

    def read() -> None:
        if not os.read(0, 1024):
            ended.set()

    asyncio.get_running_loop().add_reader(0, read)
    await ended.wait()


async def serve(executable: str, schemas: Path, types: Collection[str]) -> None:
    """Start provider and proxy, print how to attach, and serve until standard input or the provider ends."""
    with tempfile.TemporaryDirectory() as folder:
        async with provider(executable, folder) as (end, attach):
            (address,) = attach.values()
            async with aio.insecure_channel(f"unix:{address['Addr']['String']}", options=UNLIMITED) as channel:
                server = aio.server(options=UNLIMITED)
                server.add_generic_rpc_handlers((Proxy(channel, schemas, types),))
                address["Addr"]["String"], address["Pid"] = f"{folder}/proxy", os.getpid()
                server.add_insecure_port(f"unix:{folder}/proxy")
                await server.start()
                print(json.dumps(attach), flush=True)
                await asyncio.wait([asyncio.create_task(end_of_input()), end], return_when=asyncio.FIRST_COMPLETED)
                await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2]), frozenset(sys.argv[3:])))
