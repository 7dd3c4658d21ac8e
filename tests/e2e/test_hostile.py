"""Requests that mean harm, over real sockets: refused, and nobody else notices."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import grpc
import httpx
import pytest

from anabranch.router.grpc.messages import InferRequest, StreamResponse, path
from anabranch.router.limits import RequestLimits
from tests.e2e.conftest import Given, error, node, spec
from tests.engines import BODY, Engine, actor_processes
from tests.ports import free_ports
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
class Same:
    def transform(self, x):
        return x
"""
CAP = 64 * 2**20
PATIENCE_S = 300
ASK = json.dumps(BODY).encode()


@pytest.fixture(scope="module", autouse=True)
def own_port(given_once: Given) -> int:
    """The graph's own port, where its router takes whatever comes."""
    graph = spec("hostile", same=node("Same"))
    (port,) = free_ports(1)
    graph["spec"]["serving"] = {"port": port}
    graph["spec"]["timeout"] = f"{PATIENCE_S}s"  # sixteen of the largest take a busy machine long
    given_once.deployed(graph, CODE)
    return port


@pytest.fixture(params=["edge", "own port"])
def port(request: pytest.FixtureRequest, engine: Engine, own_port: int) -> int:
    """A port at which the graph answers."""
    return own_port if request.param == "own port" else engine.ports.http


@contextmanager
def growth(engine: Engine, name: str = "hostile") -> Iterator[Callable[[], int]]:
    """How far the memory of a Serve application's only process grows meanwhile, in bytes."""
    (process,) = actor_processes(engine, f"ServeReplica:{name}:")
    before, most, over = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            most[0] = max(most[0], process.memory_info().rss - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        over.set()
        thread.join()


def post(port: int, content: Any, **headers: str) -> httpx.Response:
    url = f"http://127.0.0.1:{port}/v2/models/hostile/infer"
    return httpx.post(url, content=content, headers=headers, timeout=PATIENCE_S)


def well(port: int) -> None:
    assert post(port, ASK).status_code == 200


def bomb(unpacked: int) -> bytes:
    """A gzip body of zeros; blocks that end in a full flush can be repeated."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (unpacked // 2**20)


def test_ten_mebibytes_that_unpack_to_ten_gibibytes(engine: Engine, port: int) -> None:
    body = bomb(10 * 2**30)
    assert 8 * 2**20 < len(body) < 12 * 2**20
    well(port)
    with growth(engine) as grown:
        reply = post(port, body, **{"content-encoding": "gzip"})
    assert "unpacks to more than the limit" in error(reply, 413)
    assert grown() < 2 * CAP


@pytest.mark.nightly
def test_a_body_over_the_limit_is_not_held(engine: Engine) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(3 * CAP // 2**20):
            yield b" " * 2**20

    port = engine.ports.http
    well(port)
    with growth(engine) as grown:
        error(post(port, b" " * (CAP + 1)), 413)
        with suppress(httpx.WriteError, httpx.ReadError):
            error(post(port, pieces()), 413)
    assert grown() < 2 * CAP
    well(port)


DEEP = {"inputs": [{**BODY["inputs"][0], "data": "DEEP"}]}
BODIES = {
    "depth": json.dumps(DEEP).replace('"DEEP"', "[" * 10_000 + "]" * 10_000),
    "depth outside": "[" * 10_000 + "]" * 10_000,
    "product": json.dumps({"inputs": [{**BODY["inputs"][0], "shape": [2**32, 2**32]}]}),
    "wrapping product": json.dumps({"inputs": [{**BODY["inputs"][0], "shape": [2**63, 2]}]}),
    "negative": json.dumps({"inputs": [{**BODY["inputs"][0], "shape": [-1, 2]}]}),
}


@pytest.mark.parametrize("name", sorted(BODIES))
def test_json_and_shapes_that_mean_harm(engine: Engine, port: int, name: str) -> None:
    with growth(engine) as grown:
        reply = post(port, BODIES[name])
    assert reply.status_code in (400, 413)
    assert "error" in reply.json() and "Traceback" not in reply.text
    assert grown() < 2 * CAP


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def head(*more: str) -> bytes:
    lines = ["POST /v2/models/hostile/infer HTTP/1.1", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def status(port: int, data: bytes) -> int:
    with connect(port) as connection:
        connection.sendall(data)
        return int(connection.makefile("rb").readline().split()[1])


def test_many_chunks(engine: Engine, port: int) -> None:
    body = ASK + b" " * (65_537 - len(ASK))
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with growth(engine) as grown:
        found = status(port, head("host: x", "transfer-encoding: chunked") + chunks)
    # The edge may have put so many together that few reach the router.
    assert found in (200, 413)
    assert grown() < 2 * CAP


LENGTH = f"content-length: {len(ASK)}"


def test_large_headers(port: int) -> None:
    long = [f"x-{index}: {'a' * 1000}" for index in range(70)]
    assert status(port, head("host: x", *long, LENGTH) + ASK) == 431
    assert status(port, head("host: x", LENGTH) + ASK) == 200


def test_a_missing_host(engine: Engine) -> None:
    assert status(engine.ports.http, head(LENGTH) + ASK) == 400


def message(size: int) -> bytes:
    """A call of ModelInfer with so many bytes of tensors."""
    asked = InferRequest(model_name="hostile")
    asked.inputs.add(name="x", datatype="FP32", shape=[size // 8, 2])
    asked.raw_input_contents.append(bytes(size))
    data: bytes = asked.SerializeToString()
    return data


Asks = Callable[[Engine], bool]
"""Sends one request; whether it was answered, or else refused for want of room."""
LARGE = 60 * 2**20
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def over_http(body: bytes, **headers: str) -> Asks:
    def ask(engine: Engine) -> bool:
        try:
            reply = post(engine.ports.http, body, **headers)
        except httpx.ReadError:
            return False  # its connection ended amid the body
        assert reply.status_code in (200, 503), reply.text[:1000]
        return reply.status_code == 200

    return ask


def over_grpc(data: bytes, compression: Any = None) -> Asks:
    def ask(engine: Engine) -> bool:
        target = f"127.0.0.1:{engine.ports.grpc}"
        with grpc.insecure_channel(target, options=UNLIMITED) as channel:
            try:
                call = channel.unary_unary(path("ModelInfer"))
                call(data, timeout=PATIENCE_S, compression=compression)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error
                return False
            return True

    return ask


def in_a_stream(data: bytes) -> Asks:
    def ask(engine: Engine) -> bool:
        target = f"127.0.0.1:{engine.ports.grpc}"
        read = StreamResponse.FromString
        with grpc.insecure_channel(target, options=UNLIMITED) as channel:
            method = path("ModelStreamInfer")
            call = channel.stream_stream(method, response_deserializer=read)
            (answer,) = call(iter([data]), timeout=PATIENCE_S)
            return not answer.error_message

    return ask


def numbers(count: int) -> bytes:
    """A request of so many zeros in JSON, packed, whose answer is binary."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [count // 2, 2], "data": []}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return gzip.compress(text.replace("[]", f"[{'0,' * (count - 1)}0]").encode())


def binary(size: int) -> tuple[bytes, int]:
    """A request with so many bytes of tensors, and the length of the JSON before them."""
    about = {"binary_data_size": size}
    tensor = {"name": "x", "datatype": "FP32", "shape": [size // 8, 2], "parameters": about}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return text + bytes(size), len(text)


def flood(name: str) -> Asks:
    if name == "bombs over HTTP":
        return over_http(numbers(15 * 2**20), **{"content-encoding": "gzip"})
    if name == "the largest over HTTP":
        body, length = binary(LARGE)
        return over_http(body, **{"inference-header-content-length": str(length)})
    if name == "in streams":
        return in_a_stream(message(LARGE))
    return over_grpc(message(LARGE), grpc.Compression.Gzip if name == "bombs over gRPC" else None)


FLOODS = "bombs over HTTP", "the largest over HTTP", "bombs over gRPC", "over gRPC", "in streams"


@pytest.mark.nightly
@pytest.mark.parametrize("name", FLOODS)
def test_sixteen_of_the_largest_at_a_time(engine: Engine, name: str) -> None:
    """Front and router stay within twice their limit, and small calls are answered meanwhile."""
    ask, small, limit = flood(name), over_grpc(message(8)), RequestLimits().max_under_way
    assert small(engine)
    with (
        growth(engine) as router,
        growth(engine, "anabranch.grpc") as front,
        ThreadPoolExecutor(16) as threads,
    ):
        calls = [threads.submit(ask, engine) for _ in range(16)]
        assert small(engine)
        while not all(call.done() for call in calls):
            assert small(engine)
            well(engine.ports.http)
        answered = [call.result() for call in calls]
    print(f"{name}: {sum(answered)} answered")
    print(f"front {front() / 2**20:.0f} MiB, router {router() / 2**20:.0f} MiB more")
    assert any(answered)
    assert front() < 2 * limit
    assert router() < 2 * limit
    assert ask(engine)


def slow_starts() -> Iterator[bytes]:
    """Requests that stop in the head, in the body, and in a body past the edge's buffer."""
    while True:
        yield head("host: x")[:-20]
        yield head("host: x", "content-length: 1000") + b"{"
        yield head("host: x", "content-length: 1000000") + b" " * 100_000


@pytest.mark.nightly
@pytest.mark.parametrize("count", [60, 1000])
def test_slow_connections_are_closed_and_in_nobodys_way(engine: Engine, count: int) -> None:
    """Healthy requests are answered while none of them has been closed yet, and after that."""
    url = f"{engine.graph_url('hostile')}/infer"
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=30, trust_env=False))
        starts = slow_starts()
        slow = [stack.enter_context(connect(engine.ports.http)) for _ in range(count)]
        # The third kind fills buffers on the way, and is left when they are full.
        for connection, start in zip(slow, starts, strict=False):
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.send(start)
        for _ in range(100):
            assert client.post(url, content=ASK).status_code == 200
        # Each is told so, or finds its connection closed.
        for connection in slow:
            connection.settimeout(20)
            with suppress(ConnectionError):
                told = connection.recv(65_536)
                assert not told or told.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))
    well(engine.ports.http)


def test_the_router_has_no_connection_left_over(engine: Engine) -> None:
    (process,) = actor_processes(engine, "ServeReplica:hostile:")
    until(lambda: len(process.net_connections()) <= 20)
    assert process.is_running()
