from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from anabranch.router.grpc.messages import SERVICE
from benchmarks import request
from benchmarks.client import percentile
from benchmarks.load import load
from benchmarks.running import NotMeasured
from tests.handlers import QuietHandler


class Reply(QuietHandler):
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


class Refuse(Reply):
    status = 500


class InChunks(Reply):
    """The body and each of its ends may come apart from the rest."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for part in (b"1\r\n{\r\n1\r\n}", b"\r\n0\r\n", b"\r\n"):
            self.wfile.write(part)
            self.wfile.flush()


class Large(Reply):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        is_right = self.headers.get_all("x-length") == ["3"] and body == bytes(2**20)
        self.send_response(200 if is_right else 400)
        self.send_header("content-length", str(2**22))
        self.end_headers()
        self.wfile.write(bytes(2**22))


@contextmanager
def serving(handler: type[Reply]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@contextmanager
def serving_grpc(infer: Callable[..., bytes | None]) -> Iterator[str]:
    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), options=options)
    method = grpc.unary_unary_rpc_method_handler(infer)
    handlers = grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": method})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.nightly
@pytest.mark.parametrize("reply", [Reply, InChunks])
def test_answers_are_counted_and_timed(reply: type[Reply]) -> None:
    with serving(reply) as url:
        found = load(url, connections=2, seconds=1, using="python")
    assert found.answered > 0
    assert found.failed == 0
    assert 0 < found.p50 <= found.p99


def test_a_server_that_only_fails_is_not_measured() -> None:
    with serving(Refuse) as url, pytest.raises(NotMeasured, match="no request was answered"):
        load(url, connections=1, seconds=1, using="python")


@pytest.mark.nightly
def test_large_bodies_go_with_their_headers_and_come_back_whole() -> None:
    with serving(Large) as url:
        found = load(url, 1, 1, "python", bytes(2**20), {"X-Length": "3"}, patience=20)
    assert found.answered > 0
    assert found.failed == 0


@pytest.mark.nightly
def test_calls_over_grpc_are_counted_and_timed() -> None:
    with serving_grpc(lambda message, _: message) as target:
        found = load(target, 2, 1, "grpc", bytes(2**23))
    assert found.answered > 0
    assert found.failed == 0
    assert 0 < found.p50 <= found.p99


def test_a_call_that_fails_is_no_answer() -> None:
    def fail(message: bytes, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.INTERNAL, "no")

    with serving_grpc(fail) as target, pytest.raises(NotMeasured, match="no request was answered"):
        load(target, 1, 1, "grpc", b"")


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
