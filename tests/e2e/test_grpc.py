"""The engine over gRPC: one port for every graph, found by the model's name."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from anabranch.router.grpc.messages import (
    SERVICE,
    InferParameter,
    InferRequest,
    path,
    request_type,
    response_type,
)
from anabranch.router.oip.raw_tensors import encode_raw
from anabranch.serve.edge.configuration import ROUTES_MAP, STATS_SOCKET
from anabranch.serve.edge.routes import FRONT_BACKEND, backend_of_entry
from anabranch.serve.edge.runtime_api import RuntimeApi
from tests.e2e.conftest import Given, node, spec
from tests.engines import Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
import asyncio

class Double:
    def transform(self, x):
        return x * 2

class Triple:
    def transform(self, x):
        return x * 3

class Sleep:
    async def transform(self, x):
        await asyncio.sleep(30)
        return x

class Count:
    async def predict(self, x):
        for i in range(3):
            yield x + i
            await asyncio.sleep(0.01)
"""
LARGE = {"note": InferParameter(string_param="n" * 200_000)}
"""Parameters that no buffer of the edge holds."""
GOOD = "[2.0, 4.0]"
CLIENTS = 2
"""That ask at a time; more would take the processor from those who answer."""


class Client:
    """A synchronous client of plain stubs."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def __call__(self, method: str, request: Any = None, timeout: float = 60, **fields: Any) -> Any:
        kind = request_type(method)
        return self.channel.unary_unary(
            path(method),
            request_serializer=kind.SerializeToString,
            response_deserializer=response_type(method).FromString,
        )(kind(**fields) if request is None else request, timeout=timeout)

    def infer(self, name: str, timeout: float = 60, **fields: Any) -> list[float]:
        answer = self("ModelInfer", asking(name, **fields), timeout)
        return np.frombuffer(answer.raw_output_contents[0], np.float32).tolist()

    def in_stream(self, name: str) -> list[float] | str:
        (answer,) = self.stream(asking(name))
        if answer.error_message:
            return str(answer.error_message)
        tensor = answer.infer_response.raw_output_contents[0]
        return np.frombuffer(tensor, np.float32).tolist()

    def stream(self, *requests: Any) -> list[Any]:
        method = "ModelStreamInfer"
        call = self.channel.stream_stream(
            path(method),
            request_serializer=request_type(method).SerializeToString,
            response_deserializer=response_type(method).FromString,
        )
        return list(call(iter(requests), timeout=60))


def asking(name: str, **fields: Any) -> Any:
    message = InferRequest(model_name=name, **fields)
    message.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    message.raw_input_contents.append(encode_raw(np.array([1, 2], np.float32), "FP32"))
    return message


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    one = Client(engine.ports.grpc)
    with one.channel:
        yield one


def code(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code(), raised.value.details()


@contextmanager
def asked(infer: Callable[[str], list[float] | str], name: str) -> Iterator[Counter[str]]:
    """Clients that ask a graph all the time; how often each answer came, or each error."""
    outcomes: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                outcome = str(infer(name))
            except grpc.RpcError as error:
                outcome = f"{error.code().name}: {error.details()}"
            outcomes[outcome] += 1

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def ready(client: Client, name: str) -> bool:
    try:
        return bool(client("ModelReady", name=name).ready)
    except grpc.RpcError:
        return False


@pytest.fixture(scope="module")
def graphs(given_once: Given) -> list[str]:
    """Two graphs, live at once, and one that hangs and streams."""
    counting = {"type": "predictor", "component": "components.py:Count", "inputs": {"x": "x"}}
    return [
        given_once.deployed(spec("rpc-double", y=node("Double")), CODE),
        given_once.deployed(spec("rpc-triple", y=node("Triple")), CODE),
        given_once.deployed(spec("rpc-sleep", y=node("Sleep")), CODE),
        given_once.deployed(spec("rpc-count", y=counting), CODE),
    ]


def test_a_graph_is_found_by_its_name(client: Client, graphs: list[str]) -> None:
    until(lambda: all(ready(client, name) for name in graphs))
    assert client.infer("rpc-double") == [2, 4]
    assert client.infer("rpc-triple") == [3, 6]
    assert client.infer("rpc-triple", model_version="1") == [3, 6]
    assert client("ModelMetadata", name="rpc-double").inputs[0].shape == [-1, 2]
    found, details = code(lambda: client.infer("rpc-tripel"))
    assert found is grpc.StatusCode.NOT_FOUND
    assert "did you mean 'rpc-triple'?" in details
    found, details = code(lambda: client.infer("rpc-double", model_version="7"))
    assert (found, "has no revision '7'" in details) == (grpc.StatusCode.NOT_FOUND, True)


def passed(engine: Engine, names: list[str]) -> tuple[list[int], int]:
    """Requests that the edge has sent to the lean sockets of each graph, and to the front."""
    assert engine.state is not None
    api = RuntimeApi(Path(engine.state.runtime) / "s" / STATS_SOCKET)
    entries = asyncio.run(api.state(ROUTES_MAP)).entries
    (text,) = asyncio.run(api.ask("show stat"))
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    total = {row["pxname"]: int(row["stot"]) for row in rows if row["svname"] == "BACKEND"}
    return [total[backend_of_entry(entries[name])] for name in names], total[FRONT_BACKEND]


def test_calls_go_straight_to_the_routers_of_two_graphs_one_with_a_canary(
    engine: Engine, client: Client, graphs: list[str], given: Given
) -> None:
    name = given.deployed(spec("rpc-canary", y=node("Double")), CODE)
    given.beside(spec(name, y=node("Triple")), CODE, "--canary", "50")
    names = [name, "rpc-triple"]
    until(lambda: all(ready(client, one) for one in names))
    lean, front = passed(engine, names)
    answers = Counter(tuple(client.infer(name)) for _ in range(60))
    assert answers.keys() == {(2.0, 4.0), (3.0, 6.0)}
    for version, found in (("1", [2, 4]), ("2", [3, 6])):
        assert client.infer(name, model_version=version) == found
    assert client.infer("rpc-triple") == [3, 6]
    assert passed(engine, names) == ([lean[0] + 62, lean[1] + 1], front)
    large = client.infer(name, model_version="1", id="i" * 1024, parameters=LARGE)
    assert large == [2, 4]
    assert passed(engine, names) == ([lean[0] + 63, lean[1] + 1], front)


def test_what_belongs_to_no_graph(client: Client, graphs: list[str]) -> None:
    until(lambda: ready(client, graphs[0]))
    assert client("ServerLive").live and client("ServerReady").ready
    assert client("ServerMetadata").name == "anabranch"
    index = {model.name: model for model in client("RepositoryIndex").models}
    assert index.keys() >= set(graphs)
    assert (index["rpc-double"].version, index["rpc-double"].state) == ("1", "READY")
    health = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", SERVICE, "rpc-double"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection_pb2_grpc.ServerReflectionStub(client.channel).ServerReflectionInfo(
        iter([asked])
    )
    names = {service.name for service in answer.list_services_response.service}
    assert SERVICE in names


def test_a_deadline_holds(client: Client, graphs: list[str]) -> None:
    until(lambda: ready(client, "rpc-sleep"))
    found, _ = code(lambda: client.infer("rpc-sleep", timeout=0.5))
    assert found is grpc.StatusCode.DEADLINE_EXCEEDED


def test_each_request_of_a_stream_names_its_graph(client: Client, graphs: list[str]) -> None:
    until(lambda: all(ready(client, name) for name in graphs))
    answers = client.stream(
        asking("rpc-double", id="a"), asking("nobody", id="b"), asking("rpc-count", id="c")
    )
    assert [answer.infer_response.id for answer in answers] == ["a", "b", "c", "c", "c"]
    assert "there is no graph 'nobody'" in answers[1].error_message
    values = [
        np.frombuffer(answer.infer_response.raw_output_contents[0], np.float32).tolist()
        for answer in answers
        if not answer.error_message
    ]
    assert values == [[2, 4], [1, 2], [2, 3], [3, 4]]


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.nightly)])
def test_the_front_dies_and_only_calls_that_need_it_notice(
    engine: Engine, client: Client, graphs: list[str], times: int
) -> None:
    """Those that come while there is none are told that it cannot be reached; what is under way in
    it may end otherwise.
    """
    until(lambda: ready(client, "rpc-double"))
    with asked(client.infer, "rpc-double") as lean, asked(client.in_stream, "rpc-double") as far:
        for _ in range(times):
            (front,) = actor_processes(engine, "ServeReplica:anabranch.grpc:front")
            os.kill(front.pid, signal.SIGKILL)
            until(lambda old=front.pid: is_replaced(engine, old))
            before = far[GOOD], lean[GOOD]
            until(lambda had=before: far[GOOD] > had[0] + 20 and lean[GOOD] > had[1] + 20)
    assert lean.keys() == {GOOD}
    others = {one: far[one] for one in far if one != GOOD and not one.startswith("UNAVAILABLE")}
    assert sum(others.values()) <= times * CLIENTS, others
    print(others)


def is_replaced(engine: Engine, front: int) -> bool:
    found = actor_processes(engine, "ServeReplica:anabranch.grpc:front")
    return len(found) == 1 and found[0].pid != front


def test_a_router_that_is_killed_is_left_out_at_once(
    engine: Engine, client: Client, given: Given
) -> None:
    twice = spec("rpc-twice", y=node("Double"))
    twice["spec"]["scaling"] = {"replicas": 2}
    name = given.deployed(twice, CODE)
    until(lambda: ready(client, name))
    with asked(client.infer, name) as outcomes:
        until(lambda: outcomes.total() > 50)
        os.kill(actor_processes(engine, f"ServeReplica:{name}:router")[0].pid, signal.SIGKILL)
        before = outcomes.total()
        until(lambda: outcomes.total() > before + 200)
    good = outcomes.pop("[2.0, 4.0]")
    # Only what was on its way to that one.
    assert good > 200 and outcomes.total() <= CLIENTS, outcomes
    assert all(outcome.startswith("UNAVAILABLE") for outcome in outcomes)


def test_nothing_is_lost_when_a_router_is_rolled_over(
    engine: Engine, client: Client, given: Given
) -> None:
    name = given.deployed(spec("rpc-rolled", y=node("Double")), CODE)
    until(lambda: ready(client, name))
    with asked(client.infer, name) as outcomes:
        given.deployed(spec(name, y=node("Triple")), CODE)
        until(lambda: bool(outcomes["[3.0, 6.0]"]))
        until(lambda: len(actor_processes(engine, f"ServeReplica:{name}:router")) == 1)
    assert outcomes.keys() == {"[2.0, 4.0]", "[3.0, 6.0]"}


def test_a_call_wakes_a_graph_that_sleeps(engine: Engine, client: Client, given: Given) -> None:
    sleepy = spec("rpc-sleepy", y=node("Double"))
    sleepy["spec"]["scaling"] = {"min": 0, "max": 1, "downscale_delay": "500ms"}
    name = given.deployed(sleepy, CODE)
    until(lambda: not actor_processes(engine, f"ServeReplica:{name}:router"))
    until(lambda: ready(client, name))
    assert not actor_processes(engine, f"ServeReplica:{name}:router")
    assert client.infer(name) == [2, 4]
