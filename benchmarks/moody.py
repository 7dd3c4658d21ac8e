"""A sink over HTTP that can be well, slow, hung or refusing: for spans, logged requests, anything.

Well, it takes what comes and keeps it. Slow, it takes ``SLOW_S`` for each request. Hung, it reads
and never answers. Refusing, it hangs up without an answer.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, TypeAlias

from benchmarks.servers.script import HOST

Mood: TypeAlias = Literal["well", "slow", "hung", "refusing"]
SLOW_S = 2.0
MOST_HUNG_S = 120.0


class Moody:
    """One sink; ``mood`` may change at any time, and lets go of what hangs."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        """Path and body of each request that was answered."""
        self._mood: Mood = "well"
        self._changed = threading.Event()
        self._server = ThreadingHTTPServer((HOST, 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._server.server_port}"

    @property
    def mood(self) -> Mood:
        """How it is now."""
        return self._mood

    @mood.setter
    def mood(self, mood: Mood) -> None:
        self._mood = mood
        self._changed.set()
        self._changed = threading.Event()

    def take(self, path: str, body: bytes) -> bool:
        """Do with a request as the mood says; whether it is to be answered."""
        changed = self._changed
        if self._mood == "slow":
            changed.wait(SLOW_S)
        elif self._mood == "hung":
            changed.wait(MOST_HUNG_S)
            return False
        elif self._mood == "refusing":
            return False
        self.bodies.append((path, body))
        return True

    def serve(self) -> None:
        """Answer until closed."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Let go of all."""
        self.mood = "refusing"
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if not sink.take(self.path, body):
                    self.close_connection = True
                    return
                with suppress(OSError):
                    self.send_response(200)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler


@contextmanager
def moody() -> Iterator[Moody]:
    """Run a sink in threads of this process."""
    one = Moody()
    thread = threading.Thread(target=one.serve, name="moody", daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.close()
        thread.join()
