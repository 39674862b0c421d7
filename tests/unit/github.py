"""A server on this machine that keeps a repository's issues as GitHub's API does."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class GitHub(ThreadingHTTPServer):
    """One repository, acme/pipeline, and its issues, pull requests among them.

    As in GitHub: pages of 30 to 100 whose links name the repository by number; labels that the caller may not set are
    left out without a word; 401, 404 and 410 for a bad token, a repository that is unknown or hidden from the caller,
    and issues that are turned off.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.issues: list[dict[str, Any]] = []
        self.comments: list[tuple[int, str]] = []
        self.accepted = "Bearer token"
        self.may_label = True
        self.enabled = True
        self.pages_read = 0
        self.requests = 0
        self.repository = {"id": 7, "created_at": "2026-07-15T00:00:00Z", "owner": {"id": 42}}
        self.public = True

    def add(self, title: str, *labels: str, state: str = "open", **more: Any) -> dict[str, Any]:
        issue = {
            "number": len(self.issues) + 1,
            "title": title,
            "body": "",
            "state": state,
            "state_reason": None,
            "labels": [{"name": label} for label in labels],
            **more,
        }
        self.issues.append(issue)
        return issue

    def open(self) -> list[int]:
        return [issue["number"] for issue in self.issues if issue["state"] == "open"]


class Handler(BaseHTTPRequestHandler):
    server: GitHub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the parameter's name in the base class
        pass

    def answer(self, status: int, content: object, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_request(self) -> None:
        address = urlsplit(self.path)
        content = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")
        self.server.requests += 1
        known = self.headers["Authorization"] == self.server.accepted
        path = re.fullmatch(r"/(?:repos/acme/pipeline|repositories/7)/issues(?:/(\d+)(/comments)?)?", address.path)
        if not known and self.headers["Authorization"]:
            self.answer(401, {"message": "Bad credentials"})
        elif address.path == "/repos/acme/pipeline" and (known or self.server.public):
            self.answer(200, self.server.repository)
        elif not path or not known:
            self.answer(404, {"message": "Not Found"})
        elif not self.server.enabled:
            self.answer(410, {"message": "Issues are disabled for this repo"})
        elif self.command == "GET":
            self.list({name: values[0] for name, values in parse_qs(address.query).items()})
        elif path[2]:
            self.server.comments.append((int(path[1]), content["body"]))
            self.answer(201, {"body": content["body"]})
        elif self.command == "PATCH":
            issue = self.server.issues[int(path[1]) - 1]
            issue.update(content)
            self.answer(200, issue)
        elif len(content["body"]) > 65_536:
            self.answer(422, {"message": "Validation Failed"})
        else:
            labels = content["labels"] if self.server.may_label else []
            self.answer(201, self.server.add(content["title"], *labels, body=content["body"]))

    do_GET = do_POST = do_PATCH = handle_request

    def list(self, query: dict[str, str]) -> None:
        self.server.pages_read += 1
        state, wanted = query.get("state", "open"), set(filter(None, query.get("labels", "").split(",")))
        found = [
            issue
            for issue in self.server.issues
            if state in (issue["state"], "all") and wanted <= {label["name"] for label in issue["labels"]}
        ]
        if query.get("direction", "desc") == "desc":
            found.reverse()
        size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
        links = {}
        if page * size < len(found):
            rest = "&".join(f"{name}={value}" for name, value in query.items() if name != "page")
            following = f"{self.server.url}/repositories/7/issues?{rest}&page={page + 1}"
            links["Link"] = f'<{following}>; rel="next", <{self.server.url}/last>; rel="last"'
        self.answer(200, found[(page - 1) * size : page * size], **links)


@contextlib.contextmanager
def serving() -> Iterator[GitHub]:
    """Run the server while the context lasts."""
    with GitHub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
