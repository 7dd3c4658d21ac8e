"""A control plane over a store of its own; nothing is reconciled, so nothing needs an engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from anabranch.access.identity import TOKEN, Asker, Identity
from anabranch.client.bundle.packing import pack
from anabranch.client.bundle.unpacking import write_files
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Moment, Operation
from anabranch.control.observe.process_sums import ProcessSums
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.parts import ControllerParts
from anabranch.control.reconcile.pools import Pools
from anabranch.control.settings.settings import Settings
from anabranch.control.traffic.topics import TableTopics
from tests.control.stores import new_store

GRACE = 600.0
MOMENT = Moment(1e9, GRACE)
SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: NAME}
spec:
  inputs: {x: {datatype: FP32, shape: [-1]}}
  nodes:
    one: {type: transformer, component: parts.py:One, inputs: {x: x}}
    two: {type: predictor, component: parts.py:Two, inputs: {x: one}, placement: {isolate: true}}
  outputs: {y: two}
"""
ROLLOUT = """\
  rollout:
    steps: [5, 25, 50]
    hold: 2m
    analysis: {interval: 10s, metrics: [{metric: error_rate, max: 0.01}]}
"""


class TestControl:
    """The control API as its callers see it; tests play the reconciler's part."""

    __test__ = False

    def __init__(self, folder: Path, **variables: str) -> None:
        settings = Settings.from_env({"ANABRANCH_HOME": str(folder / "home"), **variables})
        settings.home.mkdir(parents=True, exist_ok=True)
        settings.token_file.write_text("the-token\n")
        self.folder = folder
        self.store = new_store(settings.store)
        self.topics = TableTopics()
        self.totals = ArmTotals()
        self.process_sums = ProcessSums()
        self.parts = ControllerParts(
            settings, self.store, self.topics, self.totals, Pools(), self.process_sums
        )
        self.api = self.parts.api
        self.identity = TOKEN
        """Who asks, unless a call says otherwise."""
        assert asyncio.run(self.parts.acquire(10))

    @contextmanager
    def asked_by(self, identity: Identity) -> Iterator[None]:
        """Let somebody ask for a while."""
        before, self.identity = self.identity, identity
        yield
        self.identity = before

    def raw(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        identity: Identity | None = None,
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        asker = Asker(identity or self.identity, "10.0.0.1", "q1")
        work = self.api.handle(method, path, query, body, asker)
        status, headers, answer = asyncio.run(work)
        return status, dict(headers), answer

    def call(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        identity: Identity | None = None,
    ) -> tuple[int, Any]:
        status, headers, answer = self.raw(method, path, query, body, identity)
        assert headers[b"content-type"] == b"application/json"
        return status, json.loads(answer)

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call with a body of JSON."""
        return self.call(method, path, body=b"" if body is None else json.dumps(body).encode())

    def bundle(self, name: str = "digits", spec: str = SPEC) -> bytes:
        files = {"graph.yaml": spec.replace("NAME", name).encode(), "parts.py": b""}
        write_files(files, self.folder / "source")
        return pack(self.folder / "source" / "graph.yaml", 2**20).data

    def deploy(
        self, name: str = "digits", query: str = "", spec: str = SPEC, force: bool = True
    ) -> tuple[int, Any]:
        """Send a bundle; as a new revision whatever runs already, if ``force``."""
        body = self.bundle(name, spec)
        query = "&".join([*filter(None, [query]), f"force={force:d}"])
        return self.call("POST", f"/graphs/{name}/revisions", query, body)

    def change(self, name: str, operation: Operation, moment: Moment = MOMENT) -> None:
        self.store.change(name, lambda now: operation(now, moment))

    def arrive(self, number: int, name: str = "digits", at: float = 1e9) -> None:
        """A revision is up."""
        self.change(name, partial(operations.arrived, number=number), Moment(at, GRACE))

    def fail(self, number: int, reason: str, name: str = "digits") -> None:
        self.change(name, partial(operations.failed, number=number, reason=reason))

    def expire(self, name: str = "digits") -> None:
        """The grace period of every warm revision is over."""
        self.change(name, operations.expired, Moment(1e12, GRACE))

    def up(self, count: int, name: str = "digits") -> None:
        """Deploy one revision after the other, each replacing the one before."""
        for number in range(1, count + 1):
            assert self.deploy(name)[0] == 202
            self.arrive(number, name, at=1e9 + number)
