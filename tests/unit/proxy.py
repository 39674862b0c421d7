"""A proxy on 127.0.0.1 before moto's S3 server, which breaks the requests that it is told to break.

Test modules import the fixtures, which pytest knows as `server` and `proxy`.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3.util.connection
from moto.server import ThreadedMotoServer


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on, and breaks the next ones of a kind."""

    protocol_version = "HTTP/1.1"
    upstream: tuple[str, int]
    kind = fault = ""
    left = 0  # how many requests to break
    broken = 0  # how many bodies to break in the middle
    ranges = True  # whether to ask for parts of objects
    checksum = ""  # of the whole object, which is said of its parts as well
    seen: list[str]  # kinds of all requests
    requests: list[tuple[str, Message, bytes]]  # kind, headers and body of each
    reached: threading.Event  # a request that gets no answer has come
    released: threading.Event  # connections without an answer may be closed
    silent: set[int]  # the clients' ports of these connections
    middle = ("reset", "cut short", "stall", "corrupt")  # faults of a body that has begun

    @classmethod
    def break_next(cls, kind: str, fault: str, times: int) -> None:
        cls.kind, cls.fault, cls.left, cls.broken = kind, fault, times, times

    def _kind(self) -> str:
        query = self.path.partition("?")[2]
        if self.path.startswith("/rejected?"):
            return "list verdicts"
        if self.path.startswith("/rejected/"):
            return {"HEAD": "look for a verdict", "PUT": "write it", "DELETE": "remove it"}[self.command]
        if self.command == "POST":
            return "create" if query.startswith("uploads") else "complete"
        if self.command == "PUT":
            return "part" if "partNumber" in query else "put"
        return {"GET": "resume" if "Range" in self.headers else "get", "HEAD": "head", "DELETE": "abort"}[self.command]

    def _pass(self) -> None:
        cls = type(self)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self._kind()
        cls.seen.append(kind)
        cls.requests.append((kind, self.headers, body))
        if kind == cls.kind and cls.left:
            cls.left -= 1
            match cls.fault:
                case "throttled":
                    return self._answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
                case "error":
                    return self._answer(500, [], b"<Error><Code>InternalError</Code></Error>")
                case "denied":
                    return self._answer(403, [], b"<Error><Code>AccessDenied</Code></Error>")
                case "key disabled":
                    return self._answer(400, [], b"<Error><Code>KMS.DisabledException</Code></Error>")
                case "timeout":
                    return self._fall_silent()
                case "reset" if kind not in ("get", "resume"):
                    return self._reset()
        upstream = http.client.HTTPConnection(*cls.upstream)
        headers = {name: value for name, value in self.headers.items() if cls.ranges or name != "Range"}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        broken = kind == cls.kind and cls.fault in cls.middle and kind in ("get", "resume") and cls.broken
        if broken:
            cls.broken -= 1
        return self._answer(answer.status, answer.getheaders(), content, broken=cls.fault if broken else "")

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, broken: str = "") -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        if self.checksum and self.command == "GET":
            self.send_header("x-amz-checksum-crc32", self.checksum)
        if broken == "corrupt":
            content, broken = content.replace(b"x", b"y"), ""
        length = {name.lower(): value for name, value in headers}.get("content-length")
        self.send_header("Content-Length", (length if self.command == "HEAD" and length else str(len(content))))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(content[: len(content) // 2] if broken else content)
        if broken:
            self.wfile.flush()
            match broken:
                case "stall":
                    self._fall_silent()
                case "reset":
                    self._reset()
                case _:
                    self.close_connection = True

    def _fall_silent(self) -> None:
        self.silent.add(self.client_address[1])
        self.reached.set()
        self.released.wait()
        self.close_connection = True

    def _reset(self) -> None:
        """Make closing the connection an abort."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def log_message(self, *_: Any) -> None:
        pass


class Socket(socket.socket):
    """A client's socket that times out as soon as the proxy falls silent, instead of after some time.

    The proxy closes the connection, and this reports a timeout instead of the end.
    """

    silent: set[int]  # the proxy's

    def recv_into(self, *args: Any) -> int:
        """Read as a socket does. Raises TimeoutError, as that does when time has passed."""
        count = super().recv_into(*args)
        if not count and (port := self.getsockname()[1]) in self.silent:
            self.silent.remove(port)  # which may be that of a later connection
            raise TimeoutError("timed out")
        return count


def time_out_immediately(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no client of this process wait for an answer of the proxy that does not come."""
    connect = urllib3.util.connection.create_connection

    def create_connection(*args: Any, **options: Any) -> Socket:
        plain = connect(*args, **options)
        timeout = plain.gettimeout()
        ours = Socket(fileno=plain.detach())
        ours.settimeout(timeout)
        ours.silent = proxy.silent
        return ours

    monkeypatch.setattr(urllib3.util.connection, "create_connection", create_connection)
    proxy.released.set()


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve on a port of 127.0.0.1, which is yielded."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield httpd.server_port
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@pytest.fixture(name="server", scope="module")
def server_fixture() -> Iterator[tuple[str, int]]:
    """Host and port of moto's server."""
    moto_server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto_server.start()
    yield moto_server.get_host_and_port()
    moto_server.stop()


@pytest.fixture(name="proxy")
def proxy_fixture(server: tuple[str, int]) -> Iterator[Any]:
    """The class of a proxy, with its address as `url`. In the end the server is emptied."""
    fresh = {"seen": [], "requests": [], "silent": set(), "reached": threading.Event(), "released": threading.Event()}
    proxy: Any = type("ThisProxy", (Proxy,), {"upstream": server, **fresh})
    with serving(proxy) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy
        proxy.released.set()
    reset = http.client.HTTPConnection(*server)
    reset.request("POST", "/moto-api/reset")
    reset.getresponse().read()
    reset.close()
