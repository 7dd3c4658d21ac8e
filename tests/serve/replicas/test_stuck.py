"""A replica whose threads are all held by calls that nobody waits for is unwell."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.graph.calls.interrupt import STUCK
from anabranch.serve.replicas.base import StartError, start_reason
from anabranch.serve.replicas.segment import SegmentReplica
from tests.serve.replicas.created import created

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: one}
spec:
  inputs: {x: {datatype: FP32, shape: [-1]}}
  nodes:
    held:
      {type: transformer, component: parts.py:Held, inputs: {x: x}, placement: {isolate: true}}
  outputs: {y: held}
"""
PARTS = """
import threading

class Held:
    begun, release = threading.Event(), threading.Event()

    def transform(self, x):
        self.begun.set()
        self.release.wait(60)
        return x
"""


def test_a_stuck_component_makes_its_replica_unwell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> str | None:
        replica = await created(SegmentReplica, "graph.yaml", "held", [])
        held = replica._hosted.bound["held"].instance
        values = {"x": np.zeros(1, np.float32)}
        call = asyncio.create_task(replica.evaluate(values, ("held",), Context()))
        assert await asyncio.to_thread(held.begun.wait, 10)
        call.cancel()
        await asyncio.wait({call})
        await replica.check_health()
        now = time.monotonic()
        monkeypatch.setattr("anabranch.graph.calls.lanes.time.monotonic", lambda: now + STUCK + 1)
        try:
            with pytest.raises(StartError) as caught:
                await replica.check_health()
        finally:
            monkeypatch.undo()
            held.release.set()
            replica._executor.close()
        return start_reason(str(caught.value))

    assert asyncio.run(main()) == (
        "node 'held': calls that were given up 30s ago still hold its threads"
    )
