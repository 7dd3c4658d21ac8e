from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from anabranch.components.annotations import Measure
from anabranch.components.contract import Context, NodeFeedback
from anabranch.errors import NodeError, Unavailable
from anabranch.graph.calls.counts import Counts
from anabranch.graph.compile.loading import Loaded, open_graph
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.plan.plan import HEAD, Segment
from anabranch.router.addresses import Reach
from anabranch.router.admission.admission import Admission
from anabranch.router.admission.bulkheads import bulkheads
from anabranch.serve.calls.remote_segment import RemoteSegment
from anabranch.serve.calls.replica_calls import ReplicaCalls
from anabranch.serve.calls.secret import call_secret
from anabranch.serve.replicas.base import Hosted, StartError, start_reason
from anabranch.serve.replicas.segment import SegmentReplica, actor_options
from anabranch.serve.scaling.policy import ONGOING, REQUESTS
from anabranch.specs.models import Placement, Resources
from anabranch.specs.units import Size
from anabranch.telemetry.definitions import (
    HOP_DURATION,
    NODE_DURATION,
    NODE_ERRORS,
    REPLICA_START,
)
from anabranch.telemetry.registry import REGISTRY, Distribution, Observed, Registry
from tests.serve.members import ListedMembers, called
from tests.serve.replicas.created import created
from tests.waiting import eventually

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
        if x[0] == 77:
            context.tags["seen"] = f"mul after {context.tags['seen']}"
            context.names["output"] = ["c"]
            context.measure("rows", 2)
        if x[0] > 1000:
            open("begun", "w").close()
            try:
                await asyncio.sleep(60)
            finally:
                open("ended", "w").close()
        return x * (2 if context.remaining() is None else 3)

    def feedback(self, given):
        with open("rewards", "a") as file:
            file.write(f"{given.id} {given.reward} {given.inputs['x'].tolist()}\\n")
"""


class Head(NamedTuple):
    """A head, with its one call to another segment."""

    executor: HeadExecutor
    remote: RemoteSegment


@asynccontextmanager
async def started(hops: Distribution | None = None) -> AsyncIterator[Head]:
    """A head, and a replica of its other segment."""
    replica = await created(SegmentReplica, "graph.yaml", "mul", [])
    hosted = await Hosted.start("graph.yaml", HEAD)
    async with called("mul", replica) as calls:
        remote = RemoteSegment(calls, hops=hops)
        yield Head(HeadExecutor(hosted.loaded.plan, hosted.bound, {"mul": remote}), remote)


def test_a_reward_reaches_a_component_in_its_process(folder: Path) -> None:
    async def main() -> list[bool]:
        async with started() as (executor, remote):
            given = NodeFeedback("7", 0.5, inputs={"x": np.array([1.5])})
            return [await executor.feedback.give(given), await remote.feedback(given)]

    assert asyncio.run(main()) == [True, True]
    assert (folder / "rewards").read_text() == "7 0.5 [1.5]\n" * 2


async def answer(x: list[float], context: Context) -> list[float]:
    async with started() as (executor, _):
        result = await executor.run({"x": np.array(x, np.float32)}, context)
    return [float(value) for value in result["y"]]


def test_head_and_segment_answer_together(folder: Path) -> None:
    assert asyncio.run(answer([1, 2], Context())) == [4, 6]


def test_the_time_left_is_shipped_not_the_deadline(folder: Path) -> None:
    assert asyncio.run(answer([1], Context(deadline=time.monotonic() + 60))) == [6]


def test_annotations_go_to_the_segment_and_come_back(folder: Path) -> None:
    context = Context()
    context.tags.update(seen="caller", kept=1)
    assert asyncio.run(answer([76], context)) == [154]
    assert context.tags == {"seen": "mul after caller", "kept": 1}
    assert context.names == {"output": ["c"]}
    assert context.annotations.measures == [Measure("mul", "counter", "rows", 2.0)]


def test_an_error_of_a_remote_node_names_it(folder: Path) -> None:
    with pytest.raises(NodeError, match=r"'mul' failed: .*negative"):
        asyncio.run(answer([-5], Context()))


def test_cancelling_the_call_cancels_it_there(folder: Path) -> None:
    async def main() -> None:
        async with started() as (executor, _):
            run = asyncio.create_task(executor.run({"x": np.array([2000], np.float32)}, Context()))
            await eventually((folder / "begun").exists)
            assert not (folder / "ended").exists()
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
            await eventually((folder / "ended").exists)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_call_holds_a_place_in_the_bulkhead_of_its_segment_while_it_is_under_way(
    folder: Path,
) -> None:
    async def main() -> None:
        async with started() as (executor, remote):
            gate = Admission("demo", 2)
            (bulkhead,) = bulkheads({"mul": 1}, gate).values()
            remote.bulkhead = bulkhead
            slow, quick = (np.array([value], np.float32) for value in (2000, 1))
            held = [gate.place()]
            run = asyncio.create_task(executor.run({"x": slow}, Context()))
            await eventually((folder / "begun").exists)
            assert bulkhead.inside == 1
            held.append(gate.place())
            with pytest.raises(Unavailable, match="1 requests wait for segment 'mul'"):
                await executor.run({"x": quick}, Context())
            run.cancel()
            await asyncio.wait([run])
            assert bulkhead.inside == 0
            held.pop().__exit__(None, None, None)
            await executor.run({"x": quick}, Context())
            assert bulkhead.inside == 0

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_replica_tells_what_it_is_asked_and_what_is_under_way(folder: Path) -> None:
    async def main() -> None:
        replica = await created(SegmentReplica, "graph.yaml", "mul", [])
        async with called("mul", replica) as calls:
            assert await replica.record_autoscaling_stats() == {ONGOING: 0, REQUESTS: 0}
            sent = {"add": np.array([2000], np.float32)}, ("mul",), Context()
            asking = [asyncio.create_task(calls.call("evaluate", *sent)) for _ in range(3)]
            await eventually(lambda: replica._server and replica._server.under_way == 3)
            assert await replica.record_autoscaling_stats() == {ONGOING: 3, REQUESTS: 3}
            for one in asking:
                one.cancel()
            await eventually(lambda: replica._server and replica._server.under_way == 0)
            assert await replica.record_autoscaling_stats() == {ONGOING: 0, REQUESTS: 3}

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_replica_that_ends_finishes_what_it_has_and_leaves_no_socket(
    folder: Path, sockets: Path
) -> None:
    async def main() -> None:
        replica = await created(SegmentReplica, "graph.yaml", "mul", [])
        (reach,) = (await replica.record_replica_metadata()).values()
        reached = Reach(*reach).seen_from("")
        assert reached.startswith(f"unix@{sockets}/")
        calls = ReplicaCalls("mul", ListedMembers(reached), call_secret())
        values = {"add": np.array([1, 2], np.float32)}
        asking = [
            asyncio.create_task(calls.call("evaluate", values, ("mul",), Context()))
            for _ in range(10)
        ]
        await eventually(lambda: replica._requests)
        await SegmentReplica.__del__(replica)
        found = await asyncio.gather(*asking)
        assert [one["mul"].tolist() for one in found] == [[2, 4]] * 10
        calls.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert not list(sockets.glob("*.sock"))


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


def test_custom_resources_and_machines_become_actor_options() -> None:
    custom = Resources(custom={"licence": 0.5})
    labels = Placement(labels={"zone": "!in(a, b)"}, node_affinity="worker", spread="node")
    assert actor_options(Segment("a", ("a",), custom, placement=labels), {}, "10.0.0.2") == {
        "num_cpus": 0,
        "resources": {"node:10.0.0.2": 0.001, "licence": 0.5},
        "label_selector": {"zone": "!in(a,b)"},  # Ray would look for " b"
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
        async with started(hops) as (executor, _):
            await ask_all(executor)

    async def ask_all(executor: HeadExecutor) -> None:
        for value, context in (
            (1, Context()),
            (-5, Context()),
            (1, Context(is_traffic=False)),
            (2, Context()),
        ):
            with suppress(NodeError):
                await executor.run({"x": np.array([value], np.float32)}, context)

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
