"""Heads elsewhere: the replica in this process, reached at its socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError, Unavailable
from anabranch.router.admission.admission import Admission
from anabranch.router.table import app_name
from anabranch.serve.calls import remote_head, remote_segment
from anabranch.serve.calls.remote_head import Heads, RemoteHead
from anabranch.serve.calls.replica_calls import ReplicaCalls
from anabranch.serve.replicas.head import HeadReplica, HostedHead
from anabranch.specs.models import Compare
from tests.serve.members import ListedMembers, called, calling, replicas
from tests.serve.replicas.created import collected, created
from tests.serve.streams.ends import SECRET
from tests.waiting import eventually

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: one}
spec:
  inputs: {x: {datatype: FP32, shape: [-1]}}
  nodes:
    mul: {type: predictor, component: parts.py:Mul, inputs: {x: x}}
  outputs: {y: mul, z: mul}
"""
PARTS = """
import asyncio
import pathlib

class Mul:
    async def predict(self, x, context):
        if x[0] < 0:
            raise ValueError("negative")
        if x[0] > 1000:
            open("begun", "w").close()
            try:
                await asyncio.sleep(60)
            finally:
                open("ended", "w").close()
        return x * (2 if context.remaining() is None else 3)

    def unload(self):
        pathlib.Path("unloaded").touch()
"""
X = np.array([1, 2], np.float32)
Demo = Callable[..., Any]


@asynccontextmanager
async def started() -> AsyncIterator[RemoteHead]:
    """A head, and a replica of it."""
    replica = await created(HeadReplica, "graph.yaml", "one.r2")
    async with called("r2.head", replica) as calls:
        yield RemoteHead(calls)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def test_it_evaluates_and_says_how_long_that_took(folder: Path) -> None:
    async def main() -> None:
        async with started() as head:
            begun = time.perf_counter()
            found = await head.run({"x": X}, Context(), None)
            assert 0 < found.seconds < time.perf_counter() - begun
            assert {name: array.tolist() for name, array in found.outputs.items()} == {
                "y": [2, 4],
                "z": [2, 4],
            }
            found = await head.run({"x": X}, Context(deadline=time.monotonic() + 60), ["z"])
            assert {name: array.tolist() for name, array in found.outputs.items()} == {"z": [3, 6]}

    run(main())


@pytest.mark.parametrize(
    ("expected", "agreed", "close"),
    [
        ({"y": X * 2}, True, True),
        ({"y": X * 2.001}, True, True),
        ({"y": X * 3}, False, False),
        ({"z": X * 2}, False, False),
    ],
)
def test_it_compares_there_and_sends_a_verdict(
    folder: Path, expected: dict[str, Any], agreed: bool, close: bool
) -> None:
    async def main() -> None:
        async with started() as head:
            verdict = await head.compare({"x": X}, Context(), ["y"], expected, Compare(rtol=0.01))
            assert (verdict.agreed, verdict.close) == (agreed, close)
            assert verdict.seconds > 0

    run(main())


def test_it_streams_result_after_result(folder: Path) -> None:
    (folder / "parts.py").write_text(
        "class Mul:\n async def predict(self, x):\n  yield x * 2\n  yield x * 3\n"
    )

    async def main() -> None:
        async with started() as head:
            found = [one async for one in head.stream({"x": X}, Context(), ["z"])]
            assert [one.outputs["z"].tolist() for one in found] == [[2, 4], [3, 6]]
            assert 0 < found[0].seconds < found[1].seconds

    run(main())


@pytest.mark.parametrize("method", ["run", "compare"])
def test_an_error_names_the_node(folder: Path, method: str) -> None:
    async def main() -> None:
        async with started() as head:
            more = ({}, Compare()) if method == "compare" else ()
            with pytest.raises(NodeError, match=r"'mul' failed: .*negative"):
                await getattr(head, method)({"x": -X}, Context(), None, *more)

    run(main())


def test_an_arm_elsewhere_answers_and_a_client_that_hangs_up_cancels_it_there(
    folder: Path, demo: Demo
) -> None:
    def body(x: float) -> Any:
        return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [x]}]}

    async def main() -> None:
        async with started() as head:
            graph = demo({})
            graph.heads[2] = head
            signature = graph.signature({"x": ("FP32", (-1,))})
            outputs = {"y": None, "z": None}
            graph.apply({2: 1}, revisions={2: type(signature)(signature.inputs, outputs, 60.0)})
            status, answer = await graph.ask(body=body(1.0))
            assert (status, answer["outputs"][0]["data"]) == (200, [3.0])
            gone = asyncio.Event()
            asking = asyncio.create_task(graph.ask(body=body(2000.0), gone=gone))
            await eventually((folder / "begun").exists)
            gone.set()
            assert await asking == (0, None)
            await eventually((folder / "ended").exists)
            assert graph.arms.report().arms[2].requests == 1

    run(main())


def test_the_deadline_cancels_it_there(folder: Path, demo: Demo) -> None:
    async def main() -> None:
        async with started() as head:
            graph = demo({})
            graph.heads[2] = head
            tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [2000.0]}
            for generation in count(1):
                seconds = 0.1 * 2**generation
                signature = graph.signature({"x": ("FP32", (-1,))}, timeout=seconds)
                graph.apply({2: 1}, generation, revisions={2: signature})
                assert (await graph.ask(body={"inputs": [tensor]}))[0] == 504
                if (folder / "begun").exists():  # a busy machine may not come so far in that time
                    break
            await eventually((folder / "ended").exists)

    run(main())


def test_an_application_that_is_gone_is_unavailable() -> None:
    async def main() -> None:
        membership = ListedMembers()
        membership.answers.put_nowait(Unavailable("segment 'r2.head' cannot answer now: gone"))
        async with calling(membership) as calls:
            with pytest.raises(Unavailable, match=r"'r2\.head' cannot answer now"):
                await RemoteHead(calls).run({"x": X}, Context(), None)

    run(main())


def test_unloading_lets_components_go(folder: Path) -> None:
    async def main() -> None:
        replica = await created(HeadReplica, "graph.yaml", "one.r2")
        await replica.check_health()
        await HeadReplica.__del__(replica)

    run(main())
    assert (folder / "unloaded").exists()


def test_a_replica_that_did_not_start_has_nothing_to_unload() -> None:
    asyncio.run(HeadReplica.__del__(collected(HeadReplica)))


TWO = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: one}
spec:
  inputs: {x: {datatype: FP32, shape: [-1]}}
  nodes:
    mul: {type: predictor, component: parts.py:Mul, inputs: {x: x}}
    far: {type: predictor, component: parts.py:Mul, inputs: {x: x}, placement: {isolate: true}}
    apart:
      {type: predictor, component: parts.py:Mul, inputs: {x: x}, placement: {isolate: true},
       on_error: {use: mul}}
  outputs: {y: mul, z: far, w: apart}
"""


@asynccontextmanager
async def hosted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[HostedHead, dict[str, ListedMembers]]]:
    """A head with two other segments, neither of which runs."""
    (folder / "graph.yaml").write_text(TWO)
    found = {"far": ListedMembers(), "apart": ListedMembers()}
    monkeypatch.setattr(remote_segment, "ServeMembership", lambda name, *_: found[name])
    yield await HostedHead.start("graph.yaml", "one.r1"), found


def test_an_output_without_a_stand_in_is_an_obstacle_while_its_segment_is_down(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with hosted(folder, monkeypatch) as (head, members):
            assert head.obstacle() == ""  # as far as it is known: Serve is asked
            await eventually(lambda: members["far"].looks and members["apart"].looks)
            assert head.head.obstacle() == ""
            members["apart"].unhealthy = True
            await eventually(lambda: head._calls["apart"].is_down)
            assert head.obstacle() == ""
            members["far"].unhealthy = True
            await eventually(lambda: head._calls["far"].is_down)
            assert head.obstacle() == (
                "output 'z' cannot be computed, since no replica is healthy of segment "
                "'far', 'apart'"
            )
            members["far"].unhealthy = members["apart"].unhealthy = False
            await eventually(lambda: not head.obstacle())
            await head.unload()

    run(main())


def test_only_segments_that_some_requests_do_not_need_have_bulkheads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with hosted(folder, monkeypatch) as (head, _):
            gate = Admission("one", 256)
            head.keep_room(gate)
            assert gate.is_shared
            assert all(call.bulkhead is not None for call in head._calls.values())
            await head.unload()

    run(main())


def test_a_head_elsewhere_is_an_obstacle_while_it_has_no_healthy_replica() -> None:
    async def main() -> None:
        async with replicas("a") as (a,):
            membership = ListedMembers(a.address)
            async with calling(membership) as calls:
                head = RemoteHead(calls)
                await eventually(lambda: calls._links[a.address].live)
                assert head.obstacle() == ""
                a.kill()
                await eventually(lambda: head.obstacle() == "forest has no healthy replica")

    run(main())


def test_the_head_that_is_carried_is_in_no_other_process(
    sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def membership(*where: str) -> ListedMembers:
        asked.append(where)
        return ListedMembers()

    monkeypatch.setattr(remote_head, "ServeMembership", membership)
    carried: Any = object()

    async def main() -> None:
        reach = Heads("one", 1, carried)
        assert reach(1) is carried
        assert isinstance(reach(2), RemoteHead)

    run(main())
    assert asked == [("r2.head", "head", "one.r2.head")]
    assert app_name("one", "head", 2) == "one.r2.head"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_head_is_let_go_when_the_last_request_of_it_has_ended(elsewhere: bool) -> None:
    """Whichever thread notices."""

    async def main() -> None:
        async with replicas("a") as (a,):
            membership = ListedMembers(a.address)
            kept = [RemoteHead(ReplicaCalls("r2.head", membership, SECRET))]
            running = asyncio.create_task(kept[0].run({"x": X}, Context(), None))
            await eventually(lambda: a.begun)
            if not elsewhere:
                kept.clear()
            await asyncio.sleep(0)
            assert not membership.closed
            a.go.set()
            await running
            del running
            if elsewhere:
                await asyncio.to_thread(kept.clear)
            await eventually(lambda: membership.closed and not a.listening._sessions)

    run(main())
