from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.graph.calls.counts import Counts
from anabranch.graph.compile.loading import Loaded, open_graph
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.plan.plan import HEAD, Segment
from anabranch.serve.calls.handle import HandleCall
from anabranch.serve.replicas.base import Hosted, StartError, start_reason
from anabranch.serve.replicas.segment import SegmentReplica, actor_options
from anabranch.specs.models import Resources
from anabranch.specs.units import Size
from anabranch.telemetry.definitions import (
    HOP_DURATION,
    NODE_DURATION,
    NODE_ERRORS,
    REPLICA_START,
)
from anabranch.telemetry.registry import REGISTRY, Distribution, Observed, Registry
from tests.serve.handles import Handle

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: two}
spec:
  inputs: {x: {datatype: FP32, shape: [-1]}}
  nodes:
    add: {type: transformer, component: parts.py:Add, inputs: {x: x}}
    mul:
      {type: predictor, component: parts.py:Mul, inputs: {x: add}, placement: {isolate: true}}
  outputs: {y: mul}
"""
PARTS = """
import asyncio

class Add:
    def transform(self, x):
        return x + 1

class Mul:
    async def predict(self, x, context):
        if x[0] < 0:
            raise ValueError("negative")
        if x[0] > 1000:
            await asyncio.sleep(60)
        return x * (2 if context.remaining() is None else 3)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "graph.yaml").write_text(SPEC)
    (tmp_path / "parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class CollectedReplica(SegmentReplica):
    """Python collects it here; Serve awaits its asynchronous ``__del__`` instead."""

    def __del__(self) -> None: ...


async def start(hops: Distribution | None = None) -> tuple[HeadExecutor, Handle]:
    replica = CollectedReplica.__new__(CollectedReplica)
    await CollectedReplica.__init__(replica, "graph.yaml", "mul", [])
    handle = Handle(replica)
    hosted = await Hosted.start("graph.yaml", HEAD)
    calls = {"mul": HandleCall("mul", handle, hops=hops)}
    return HeadExecutor(hosted.loaded.plan, hosted.bound, calls), handle


async def answer(x: list[float], context: Context) -> list[float]:
    executor, _ = await start()
    result = await executor.run({"x": np.array(x, np.float32)}, context)
    return [float(value) for value in result["y"]]


def test_head_and_segment_answer_together(folder: Path) -> None:
    assert asyncio.run(answer([1, 2], Context())) == [4, 6]


def test_the_time_left_is_shipped_not_the_deadline(folder: Path) -> None:
    assert asyncio.run(answer([1], Context(deadline=time.monotonic() + 60))) == [6]


def test_an_error_of_a_remote_node_names_it(folder: Path) -> None:
    with pytest.raises(NodeError, match=r"'mul' failed: .*negative"):
        asyncio.run(answer([-5], Context()))


def test_cancelling_the_call_cancels_it_there(folder: Path) -> None:
    async def cancel() -> bool:
        executor, handle = await start()
        run = asyncio.create_task(executor.run({"x": np.array([2000], np.float32)}, Context()))
        await handle.called.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return handle.responses[0].cancelled

    assert asyncio.run(cancel())


def start_error(spec: str = "graph.yaml") -> str:
    with pytest.raises(StartError) as caught:
        asyncio.run(Hosted.start(spec, "mul"))
    text = f'Traceback …\n  raise StartError("…")\nStartError: {caught.value}\nand more\n'
    return start_reason(text) or ""


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ('class Mul:\n def __init__(self): raise OSError("no \\"weights\\"\\nhere")', "no"),
        ("class Mul:\n def predict(self, x): ...\n def load(self): 1/0", "load() raised Zero"),
        ("class Mul:\n def predict(self, x): ...\n def warmup(self): 1/0", "raised ZeroDiv"),
        ("class Mul:\n def predict(self, x): ...\n def check_health(self): 1/0", "check_health()"),
        ("class Mul:\n def predict(self, x): ...\n def load(self): raise SystemExit(3)", "System"),
        ("class Mul:\n def predict(self, y): ...", "'x'"),
        ("class Other: ...", "Mul"),
    ],
)
def test_what_keeps_a_replica_from_starting_names_the_node(
    folder: Path, parts: str, expected: str
) -> None:
    (folder / "parts.py").write_text(parts)
    reason = start_error()
    assert reason.startswith("node 'mul': ")
    assert expected in reason
    assert "Traceback" not in reason and "anabranch cannot start" not in reason


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "parts.py").unlink()
    assert "parts.py" in start_error()


def test_health_checks_go_on_after_the_start(folder: Path) -> None:
    (folder / "parts.py").write_text(
        "class Mul:\n def predict(self, x): ...\n"
        " def check_health(self):\n  if hasattr(self, 'ill'): raise ValueError('ill')\n"
        "class Add:\n def transform(self, x): ...\n"
    )

    async def check() -> None:
        hosted = await Hosted.start("graph.yaml", "mul")
        await hosted.check_health()
        hosted.bound["mul"].instance.ill = True
        await hosted.check_health()

    with pytest.raises(StartError) as caught:
        asyncio.run(check())
    told = start_reason(str(caught.value))
    assert told == "node 'mul': check_health() raised ValueError: ill (parts.py:4)"


def test_unload_lets_every_node_go_even_if_one_cannot(folder: Path) -> None:
    (folder / "parts.py").write_text(
        "class Add:\n def transform(self, x): ...\n def unload(self): 1/0\n"
        "class Mul:\n gone = False\n def predict(self, x): ...\n"
        " def unload(self): self.gone = True\n"
    )
    spec = SPEC.replace(", placement: {isolate: true}", "")
    (folder / "graph.yaml").write_text(spec)

    async def unload() -> bool:
        hosted = await Hosted.start("graph.yaml", HEAD)
        await hosted.unload()
        return bool(hosted.bound["mul"].instance.gone)

    assert asyncio.run(unload())


@pytest.mark.parametrize("text", ["", "anabranch cannot start: nothing", "Traceback\nValueError"])
def test_other_texts_carry_no_reason(text: str) -> None:
    assert start_reason(text) is None


def test_resources_become_actor_options() -> None:
    plain = Segment("a", ("a",))
    assert actor_options(plain, {"x": 1}) == {"num_cpus": 0, "runtime_env": {"x": 1}}
    asked = Resources(cpu=2, gpu=0.5, memory=Size.parse("2GiB"), accelerator="H100")
    assert actor_options(Segment("a", ("a",), asked), {}) == {
        "num_cpus": 2,
        "num_gpus": 0.5,
        "memory": 2 * 2**30,
        "accelerator_type": "H100",
        "runtime_env": {},
    }


def test_fixture_has_two_segments(folder: Path) -> None:
    loaded: Loaded = open_graph(folder / "graph.yaml")
    assert [segment.name for segment in loaded.plan.segments] == ["head", "mul"]


def test_calls_that_are_answered_are_hops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_GRAPH", "hopping")
    monkeypatch.setenv("ANABRANCH_REVISION", "3")
    registry = Registry()
    hops = Counts("hopping", "3", registry).hop("mul")

    async def main() -> None:
        executor, handle = await start(hops)
        for value, context in (
            (1, Context()),
            (-5, Context()),
            (1, Context(is_traffic=False)),
            (2, Context()),
        ):
            with suppress(NodeError):
                await executor.run({"x": np.array([value], np.float32)}, context)
        assert len(handle.responses) == 4

    asyncio.run(main())
    found = registry.snapshot()[HOP_DURATION.name]["hopping", "3", "mul"]
    assert isinstance(found, Observed) and found.number == 2
    # The replica counts the node itself, and for how long it had to be waited for.
    node = REGISTRY.snapshot()[NODE_DURATION.name]["hopping", "3", "mul"]
    assert isinstance(node, Observed) and node.number == 2
    errors = REGISTRY.snapshot()[NODE_ERRORS.name]
    assert errors["hopping", "3", "mul", "NodeError"] == 1
    starts = REGISTRY.snapshot()[REPLICA_START.name]["hopping", "3", "mul"]
    assert isinstance(starts, Observed) and starts.number == 1
