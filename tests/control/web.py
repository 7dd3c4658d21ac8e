"""A real HTTP server on a free port of this machine, which answers as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from tests.handlers import QuietHandler


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0
    """Seconds between two bytes of the body."""


Answers: TypeAlias = Callable[[Asked], Answer]


class Web:
    """What a running server was asked; ``answer`` may be set at any time."""

    def __init__(self, answer: Answers) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hang(self, asked: Asked) -> Answer:
        """Do not answer before the server is closed."""
        self.closing.wait(60)
        return Answer(500)


@contextmanager
def running(answer: Answers = lambda _: Answer()) -> Iterator[Web]:
    web = Web(answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(web))
    server.daemon_threads = True
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        web.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(web: Web) -> type[QuietHandler]:
    class Handler(QuietHandler):
        def _serve(self) -> None:
            split = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            query = {key: values[0] for key, values in parse_qs(split.query).items()}
            headers = {key.lower(): value for key, value in self.headers.items()}
            asked = Asked(self.command, split.path, query, headers, body)
            web.asked.append(asked)
            try:
                self._reply(web.answer(asked))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _reply(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            pieces = [answer.body[i : i + 1] for i in range(len(answer.body))]
            for piece in pieces if answer.drip else [answer.body]:
                time.sleep(answer.drip)
                self.wfile.write(piece)
                self.wfile.flush()

        do_GET = do_POST = _serve

    return Handler
