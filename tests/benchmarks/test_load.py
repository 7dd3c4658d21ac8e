from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks import request
from benchmarks.client import percentile
from benchmarks.load import load
from benchmarks.running import NotMeasured


class Reply(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


class Refuse(Reply):
    status = 500


@contextmanager
def serving(handler: type[Reply]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_answers_are_counted_and_timed() -> None:
    with serving(Reply) as url:
        found = load(url, connections=2, seconds=1, using="python")
    assert found.answered > 0
    assert found.failed == 0
    assert 0 < found.p50 <= found.p99


def test_a_server_that_only_fails_is_not_measured() -> None:
    with serving(Refuse) as url, pytest.raises(NotMeasured, match="no request was answered"):
        load(url, connections=1, seconds=1, using="python")


def test_percentiles() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([1, 2, 3, 4], 0.5) == 3
    assert percentile([1, 2, 3, 4], 0.99) == 4


def test_only_the_right_answer_passes() -> None:
    right = {"outputs": [{"data": [1.06445312, 1.1328125, 1.20507812, 1.28125]}]}
    request.check(right)
    for wrong in ({}, {"outputs": [{"data": [1.0] * 4}]}, {"outputs": [{"data": [1.0]}]}, []):
        with pytest.raises(request.WrongAnswer):
            request.check(wrong)
