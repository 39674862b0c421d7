"""A listener that a misled client would reach instead of the local AWS."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Trap:
    """A listener that a misled client would reach instead of the local AWS."""

    port: int
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def listening() -> Iterator[Trap]:
    """Listen on a port of this machine, and count who connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        trap = Trap(port=server.getsockname()[1])

        def count() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    trap.connections += 1
                    connection.close()

        threading.Thread(target=count, daemon=True).start()
        yield trap
