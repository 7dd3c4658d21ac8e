"""A real HTTP server of files, which misbehaves as it is told to."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

from tests.handlers import QuietHandler

PROBE = "bytes=0-0"


@dataclass
class Served:
    """What the server has, and does. ``asked`` are the range headers of all requests, in order."""

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"one"'
    ranges: bool = True
    cut: list[int] = field(default_factory=list)
    """After so many bytes each of the next bodies ends, and the connection with it."""
    claims: int | None = None
    """The length to claim, whatever the length is."""
    chunked: bool = False
    endless: bool = False
    gate: threading.Event | None = None
    """Wait for it in the middle of each body."""
    halfway: threading.Event = field(default_factory=threading.Event)
    """Set when half of a body was sent."""
    status: dict[str, int] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    @property
    def transfers(self) -> int:
        """Requests for more than the first byte."""
        return sum(one != PROBE for one in self.asked)


@contextmanager
def serving() -> Iterator[Served]:
    served = Served()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        if served.gate is not None:
            served.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(served: Served) -> type[QuietHandler]:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):
                self.answer()

        def answer(self) -> None:
            path = self.path.partition("?")[0]
            wanted = self.headers["range"]
            served.asked.append(wanted)
            if path in served.redirects:
                self.send_response(302)
                self.send_header("location", served.redirects[path])
                self.end_empty()
            elif path in served.status or path not in served.files:
                self.send_response(served.status.get(path, 404))
                self.end_empty()
            else:
                self.send_file(served.files[path], wanted)

        def end_empty(self) -> None:
            self.send_header("content-length", "0")
            self.end_headers()

        def send_file(self, data: bytes, wanted: str | None) -> None:
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "") if served.ranges else None
            holds = self.headers["if-range"] in (None, served.etag)
            start, end = 0, len(data)
            if match is not None and holds and data:
                start = int(match[1])
                end = min(end, int(match[2]) + 1) if match[2] else end
                self.send_response(206)
                self.send_header("content-range", f"bytes {start}-{end - 1}/{len(data)}")
            elif match is not None and not data:
                self.send_response(416)
                self.send_header("content-range", "bytes */0")
            else:
                self.send_response(200)
            if served.etag is not None:
                self.send_header("etag", served.etag)
            for name, text in served.headers.items():
                self.send_header(name, text)
            self.send_body(data[start:end], is_probe=wanted == PROBE)

        def send_body(self, body: bytes, is_probe: bool) -> None:
            if served.chunked:
                self.send_header("transfer-encoding", "chunked")
            else:
                self.send_header("content-length", str(served.claims or len(body)))
            self.end_headers()
            cut = None if is_probe or not served.cut else served.cut.pop(0)
            if is_probe:
                self.write(body)
            else:
                half = len(body) // 2
                self.write(body[:half][:cut])
                served.halfway.set()
                if served.gate is not None:
                    served.gate.wait(60)
                self.write(body[half:] if cut is None else body[half:cut])
            while served.endless and not is_probe:
                self.write(bytes(2**20))
            if served.chunked:
                self.wfile.write(b"0\r\n\r\n")
            if cut is not None or served.claims is not None:
                self.close_connection = True

        def write(self, data: bytes) -> None:
            if served.chunked and data:
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            else:
                self.wfile.write(data)
            served.sent += len(data)
            self.wfile.flush()

    return Handler
