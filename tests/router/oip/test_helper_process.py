"""Helper processes for large bodies: what they return and raise, and what happens when one ends."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from anabranch.errors import TooLarge
from anabranch.graph.batch.batching import LOWEST_LEVEL
from anabranch.router import off_loop
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.later import AsyncRequest, AsyncState
from anabranch.router.oip import encode, helper_process
from anabranch.router.oip.helper_process import (
    WORTH,
    WORTH_A_START,
    HelperEnded,
    HelperProcess,
    apart,
    serve,
)
from tests.router.conftest import lean_serving, make_arms
from tests.router.http.doors.door_graphs import echo_graph
from tests.router.http.doors.openai.graphs import echo as said
from tests.router.http.doors.openai.graphs import language_arms
from tests.router.oip.helped import killed, killed_once, mirrored, refused
from tests.waiting import until

ROWS = 150_000


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have one helper, that finds the functions of ``helped``, and ends with the test."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]), prepend=os.pathsep)
    pool = off_loop.ThreadPoolExecutor(1, thread_name_prefix="anabranch-large")
    monkeypatch.setattr(off_loop, "_threads", pool)
    with pool:
        yield


def run(work: Callable[..., Any], *arguments: Any) -> Any:
    return asyncio.run(apart(WORTH_A_START, work, *arguments))


def test_results_and_errors_are_those_of_the_call() -> None:
    pid, view, array, text = run(mirrored, memoryview(b"abc"), "t")
    assert pid != os.getpid()
    assert (bytes(view), bytes(array), text) == (b"abc", b"cba", "t")
    array[0] = 0
    with pytest.raises(TooLarge, match=r"^far too large$"):
        run(refused, "far too large")
    assert run(mirrored, memoryview(bytearray(b"")))[0] == pid
    assert run(os.getsid, 0) == pid, "Ctrl-C at the terminal of its parent is not for it"


def test_a_helper_that_was_killed_is_replaced_and_one_that_dies_again_is_an_error() -> None:
    pid, *_ = run(mirrored, memoryview(b""))
    assert run(killed_once, pid) == "well"
    with pytest.raises(HelperEnded, match="try again later"):
        run(killed)
    assert run(killed_once, 0) == "well"


FORKING = """
import os
from anabranch.router.oip.helper_process import HelperProcess, _started

helper = HelperProcess(*_started())
assert helper.is_up(wait=True)
fork = os.fork()
if fork == 0:
    del helper
    os._exit(0)
assert os.waitpid(fork, 0) == (fork, 0)
helper.end()
"""


def test_a_fork_of_its_parent_does_not_wait_for_it() -> None:
    """As where a component starts a process, on uvloop: all objects of threads end in the fork."""
    subprocess.run([sys.executable, "-c", FORKING], check=True, timeout=60)


def test_nothing_is_left_of_a_helper_that_has_ended_although_nobody_asks() -> None:
    pid = run(os.getpid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid))


def test_a_helper_ends_where_nobody_asks_or_its_parent_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, other = socket.socketpair()
    with own, other:
        monkeypatch.setattr(helper_process, "IDLE_S", 0.01)
        serve(other)
        monkeypatch.setattr(helper_process, "IDLE_S", None)
        own.close()
        serve(other)


class OneRequest:
    """Keeps requests that are to be answered later, and says that they wait."""

    def __init__(self) -> None:
        self.requests: list[AsyncRequest] = []

    async def submit(self, request: AsyncRequest) -> AsyncState:
        self.requests.append(request)
        return AsyncState("0" * 32, "waiting")

    async def look(self, id: str, owner: str | None) -> AsyncState:
        raise AssertionError("nobody looks")

    withdraw = look


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the functions that helpers were asked for."""
    found: list[str] = []
    ask = HelperProcess.ask

    def noted(self: HelperProcess, work: Any) -> Any:
        found.append(work[0].__name__)
        return ask(self, work)

    monkeypatch.setattr(HelperProcess, "ask", noted)
    monkeypatch.setattr(helper_process, "WORTH_A_START", WORTH)
    return found


class HelperInProcess:
    """A helper in this process; all goes to it and comes from it as between processes."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """Names of the functions that it was asked for."""

    def is_up(self, wait: bool) -> bool:
        return True

    def ask(self, work: Any) -> Any:
        self.asked.append(getattr(work[0], "func", work[0]).__name__)
        return sent(helper_process._answer(*sent(work)))


def sent(value: Any) -> Any:
    memory: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, 5, buffer_callback=memory.append)
    return pickle.loads(pickled, buffers=[memoryview(bytearray(one.raw())) for one in memory])


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> HelperInProcess:
    found = HelperInProcess()
    monkeypatch.setattr(helper_process, "_helper", lambda: found)
    return found


def test_large_json_is_decoded_and_encoded_by_a_helper_with_the_same_answer(
    asked: list[str],
) -> None:
    x = np.linspace(0, 1, 2 * ROWS, dtype=np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [ROWS, 2], "data": x.tolist()}
    body = json.dumps({"inputs": [tensor], "id": "mine"}).encode()
    assert len(body) > WORTH
    arms = make_arms()
    with lean_serving(GraphApp(arms)) as url:
        path = f"{url}/v2/models/demo/infer"
        for accept in ("identity", "gzip"):
            headers = {"accept-encoding": accept}
            reply = httpx.post(path, content=body, headers=headers, timeout=60)
            (output, *_), own_id = reply.json()["outputs"], reply.json()["id"]
            assert np.array_equal(np.float32(output["data"]), 2 * x)
            assert (output["shape"], own_id) == ([ROWS, 2], "mine")
        wrong = httpx.post(path, content=body[:-2], timeout=60)
        assert (wrong.status_code, "is not JSON" in wrong.json()["error"]) == (400, True)
    assert asked == ["decode_body", "encode_as_buffer"] * 2 + ["decode_body"]
    assert arms.under_way.held == 0


def test_large_bodies_of_other_protocols_are_decoded_by_a_helper_too(near: HelperInProcess) -> None:
    pairs, demo = [[0.5, 0.25]] * ROWS, "/v2/models/demo"
    bodies = {
        f"{demo}/generate": {"x": pairs},
        f"{demo}/predict": {"columns": {"x": pairs}},
        "/v1/models/demo:predict": {"instances": pairs},
        "/seldon/default/demo/api/v1.0/predictions": {"data": {"ndarray": pairs}},
    }
    answers = []
    with lean_serving(echo_graph({"x": ("FP32", (-1, 2))}).app) as url:
        for path, body in bodies.items():
            reply = httpx.post(url + path, json=body, timeout=60)
            assert reply.status_code == 200, reply.text[:256]
            answers.append(reply.json())
    generated, plain, v1, seldon = answers
    assert generated["x"] == plain["columns"]["x"] == v1["predictions"] == pairs
    assert seldon["data"]["ndarray"] == pairs
    assert near.asked == ["_generated", "_decode", "decode_v1", "_decode"]


@pytest.mark.parametrize("tail", [0, WORTH])
def test_the_json_of_a_body_decides_whether_it_goes_to_a_helper(
    near: HelperInProcess, tail: int
) -> None:
    y = {"name": "y", "datatype": "INT8", "shape": [tail], "parameters": {"binary_data_size": tail}}
    x = {"name": "x", "datatype": "FP32", "shape": [ROWS, 2], "data": [0.5] * 2 * ROWS}
    few = {**x, "shape": [1, 2], "data": [0.5] * 2}
    graph = echo_graph({"x": ("FP32", (-1, 2)), "y": ("INT8", (-1,))})
    with lean_serving(graph.app) as url:
        for one in (few, x):
            head = json.dumps({"inputs": [one, y], "outputs": [{"name": "y"}]}).encode()
            headers = {"inference-header-content-length": str(len(head))}
            path = f"{url}/v2/models/demo/infer"
            reply = httpx.post(path, content=head + bytes(tail), headers=headers, timeout=60)
            assert reply.status_code == 200, reply.text[:256]
    assert near.asked.count("decode_body") == 1


def test_large_bodies_of_openai_are_read_by_a_helper(near: HelperInProcess) -> None:
    body = {"messages": [{"role": "user", "content": " ".join(["long"] * 2 * ROWS)}]}
    path = "/openai/demo/v1/chat/completions"
    with lean_serving(GraphApp(language_arms(said))) as url:
        reply = httpx.post(url + path, json=body, timeout=60)
        (choice,) = reply.json()["choices"]
        assert choice["message"]["content"] == body["messages"][0]["content"]
        wrong = httpx.post(url + path, json={**body, "n": "many"}, timeout=60)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "n")
    assert near.asked == ["asks_for_stream", "decode_call"] * 2


def test_large_bodies_for_later_are_read_by_a_helper(near: HelperInProcess) -> None:
    x = [0.5] * 2 * ROWS
    tensor = {"name": "x", "datatype": "FP32", "shape": [ROWS, 2], "data": x}
    store = OneRequest()
    with lean_serving(GraphApp(make_arms(), later=store)) as url:
        path, headers = f"{url}/v2/models/demo/infer", {"prefer": "respond-async"}
        reply = httpx.post(path, json={"inputs": [tensor]}, headers=headers, timeout=60)
        assert reply.status_code == 202, reply.text[:256]
        wrong = {"inputs": [{**tensor, "name": "z"}]}
        refused = httpx.post(path, json=wrong, headers=headers, timeout=60)
        assert refused.status_code == 400
    (kept,) = store.requests
    assert json.loads(kept.body) == {"inputs": [tensor], "parameters": {"priority": LOWEST_LEVEL}}
    assert near.asked == ["_read"] * 2


def test_what_is_short_does_not_wait_for_the_start_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    start, hold = helper_process._started, socket.socketpair()

    def silent() -> tuple[socket.socket, subprocess.Popen[bytes]]:
        return hold[0], subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(helper_process, "_started", silent)
    with hold[1]:
        assert asyncio.run(apart(WORTH + 1, os.getpid)) == os.getpid()
        with pytest.raises(TooLarge, match="mine"):
            asyncio.run(apart(WORTH + 1, refused, "mine"))
        monkeypatch.setattr(helper_process, "_started", start)
    assert run(os.getpid) != os.getpid()  # that one has gone, and another was started


def test_where_none_can_be_started_the_thread_does_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused_to_start(*_: Any, **__: Any) -> None:
        raise BlockingIOError("no more processes")

    with monkeypatch.context() as patch:
        patch.setattr(helper_process.subprocess, "Popen", refused_to_start)
        assert run(os.getpid) == os.getpid()
    assert run(os.getpid) != os.getpid()


def test_small_calls_never_start_one(asked: list[str]) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    with lean_serving(GraphApp(make_arms())) as url:
        httpx.post(f"{url}/v2/models/demo/infer", json={"inputs": [tensor]}, timeout=60)
    assert not asked


@pytest.mark.skipif(Path(encode.__file__).suffix == ".so", reason="what is compiled stays")
def test_a_helper_that_ends_twice_over_an_answer_counts_against_no_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ended(*_: Any) -> None:
        raise HelperEnded("the process has ended")

    monkeypatch.setattr(encode, "encode_response", ended)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    arms = make_arms()
    with lean_serving(GraphApp(arms)) as url:
        reply = httpx.post(f"{url}/v2/models/demo/infer", json={"inputs": [tensor]}, timeout=60)
    assert (reply.status_code, reply.headers["anabranch-interrupted"]) == (503, "true")
    assert [(one.requests, one.errors) for one in arms.report().arms.values()] == [(0, 0)]
