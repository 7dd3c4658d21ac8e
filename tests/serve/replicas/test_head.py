"""Heads elsewhere: the replica in this process, reached by the interface of a Serve handle."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError, Unavailable
from anabranch.router.table import app_name
from anabranch.specs.models import Compare
from tests.serve.handles import Handle

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ray.serve.exceptions import DeploymentUnavailableError

    from anabranch.serve.calls import remote_head
    from anabranch.serve.calls.remote_head import Heads, RemoteHead
    from anabranch.serve.replicas.head import HeadReplica

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
            await asyncio.sleep(60)
        return x * (2 if context.remaining() is None else 3)

    def unload(self):
        pathlib.Path("unloaded").touch()
"""
X = np.array([1, 2], np.float32)
Demo = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "graph.yaml").write_text(SPEC)
    (tmp_path / "parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class CollectedReplica(HeadReplica):
    """Python collects it here; Serve awaits its asynchronous ``__del__`` instead."""

    def __del__(self) -> None: ...


async def start() -> tuple[RemoteHead, Handle]:
    replica = CollectedReplica.__new__(CollectedReplica)
    await CollectedReplica.__init__(replica, "graph.yaml", "one.r2")
    handle = Handle(replica)
    return RemoteHead(2, handle), handle


def test_it_evaluates_and_says_how_long_that_took(folder: Path) -> None:
    async def main() -> None:
        head, _ = await start()
        begun = time.perf_counter()
        found = await head.run({"x": X}, Context(), None)
        assert 0 < found.seconds < time.perf_counter() - begun
        assert {name: array.tolist() for name, array in found.outputs.items()} == {
            "y": [2, 4],
            "z": [2, 4],
        }
        found = await head.run({"x": X}, Context(deadline=time.monotonic() + 60), ["z"])
        assert {name: array.tolist() for name, array in found.outputs.items()} == {"z": [3, 6]}

    asyncio.run(main())


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
        head, _ = await start()
        verdict = await head.compare({"x": X}, Context(), ["y"], expected, Compare(rtol=0.01))
        assert (verdict.agreed, verdict.close) == (agreed, close)
        assert verdict.seconds > 0

    asyncio.run(main())


def test_it_streams_result_after_result(folder: Path) -> None:
    (folder / "parts.py").write_text(
        "class Mul:\n async def predict(self, x):\n  yield x * 2\n  yield x * 3\n"
    )

    async def main() -> None:
        head, _ = await start()
        found = [one async for one in head.stream({"x": X}, Context(), ["z"])]
        assert [one.outputs["z"].tolist() for one in found] == [[2, 4], [3, 6]]
        assert 0 < found[0].seconds < found[1].seconds

    asyncio.run(main())


@pytest.mark.parametrize("method", ["run", "compare"])
def test_an_error_names_the_node(folder: Path, method: str) -> None:
    async def main() -> None:
        head, _ = await start()
        more = ({}, Compare()) if method == "compare" else ()
        with pytest.raises(NodeError, match=r"'mul' failed: .*negative"):
            await getattr(head, method)({"x": -X}, Context(), None, *more)

    asyncio.run(main())


def test_an_arm_elsewhere_answers_and_a_client_that_hangs_up_cancels_it_there(
    folder: Path, demo: Demo
) -> None:
    def body(x: float) -> Any:
        return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [x]}]}

    async def main() -> None:
        head, handle = await start()
        graph = demo({})
        graph.heads[2] = head
        signature = graph.signature({"x": ("FP32", (-1,))})
        outputs = {"y": None, "z": None}
        graph.apply({2: 1}, revisions={2: type(signature)(signature.inputs, outputs, 60.0)})
        status, answer = await graph.ask(body=body(1.0))
        assert (status, answer["outputs"][0]["data"]) == (200, [3.0])
        handle.called.clear()
        assert await graph.ask(body=body(2000.0), gone=handle.called) == (0, None)
        assert handle.responses[-1].cancelled
        assert graph.arms.report().arms[2].requests == 1

    asyncio.run(main())


def test_the_deadline_cancels_it_there(folder: Path, demo: Demo) -> None:
    async def main() -> None:
        head, handle = await start()
        graph = demo({})
        graph.heads[2] = head
        signature = graph.signature({"x": ("FP32", (-1,))}, timeout=0.01)
        graph.apply({2: 1}, revisions={2: signature})
        tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [2000.0]}
        assert (await graph.ask(body={"inputs": [tensor]}))[0] == 504
        assert handle.responses[-1].cancelled

    asyncio.run(main())


def test_an_application_that_is_gone_is_unavailable() -> None:
    class Gone:
        async def infer(self, *args: Any) -> None:
            raise DeploymentUnavailableError("head")

        compare = infer

    async def main() -> None:
        head = RemoteHead(2, Handle(Gone()))
        with pytest.raises(Unavailable, match=r"'r2\.head' cannot answer now"):
            await head.run({"x": X}, Context(), None)

    asyncio.run(main())


def test_unloading_lets_components_go(folder: Path) -> None:
    async def main() -> None:
        replica = CollectedReplica.__new__(CollectedReplica)
        await CollectedReplica.__init__(replica, "graph.yaml", "one.r2")
        await replica.check_health()
        await HeadReplica.__del__(replica)

    asyncio.run(main())
    assert (folder / "unloaded").exists()


def test_a_replica_that_did_not_start_has_nothing_to_unload() -> None:
    asyncio.run(HeadReplica.__del__(CollectedReplica.__new__(CollectedReplica)))


def test_the_head_that_is_carried_needs_no_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Serve:
        @staticmethod
        def get_deployment_handle(*args: Any, **options: Any) -> Any:
            asked.append((args, options["_check_exists"]))
            return Handle(CollectedReplica.__new__(CollectedReplica))

    monkeypatch.setattr(remote_head, "serve", Serve)
    carried: Any = object()

    async def main() -> None:
        reach = Heads("one", 1, carried)
        assert reach(1) is carried
        assert isinstance(reach(2), RemoteHead)

    asyncio.run(main())
    assert asked == [(("head", "one.r2.head"), False)]
    assert app_name("one", "head", 2) == "one.r2.head"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_handle_is_let_go_when_the_last_request_through_it_has_ended(elsewhere: bool) -> None:
    """Whichever thread notices."""
    go_on = asyncio.Event()

    class Replica:
        async def infer(self, *args: Any) -> Any:
            await go_on.wait()
            return {"y": X}, 0.1

        async def compare(self, *args: Any) -> Any: ...

    async def main() -> None:
        handle = Handle(Replica())
        kept = [RemoteHead(2, handle)]
        running = asyncio.create_task(kept[0].run({"x": X}, Context(), None))
        await handle.called.wait()
        if not elsewhere:
            kept.clear()
        await asyncio.sleep(0)
        assert not handle.shut.is_set()
        go_on.set()
        await running
        del running
        if elsewhere:
            await asyncio.to_thread(kept.clear)
        await handle.shut.wait()

    asyncio.run(main())
