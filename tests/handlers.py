"""A handler for the HTTP servers of tests."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler


class QuietHandler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.1, and logs nothing.

    A body leaves at once: with Nagle's algorithm it would wait until the client has acknowledged
    the headers, which a client that keeps its connection delays by 40 milliseconds.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass
