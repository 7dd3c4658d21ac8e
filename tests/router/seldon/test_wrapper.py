"""The same classes behind seldon-core's own wrapper and here, over HTTP and gRPC: equal answers.

``seldon-core`` is installed into an environment of its own, for it wants old libraries.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from anabranch import Graph
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.router.limits import RequestLimits
from anabranch.router.seldon.answers import ROUTING_TAG
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.local_head import LocalHead
from tests.components.contracts.seldon.test_adapter import SOURCE
from tests.environments import environment
from tests.router.conftest import make_table
from tests.router.grpc.test_seldon import served
from tests.router.http.doors.test_seldon_fuzz import asked
from tests.router.seldon.graphs import seldon_app

pytest.importorskip("uv")

ROWS = {"names": ["a", "b"], "ndarray": [[1.0, 2.0], [3.0, 4.5]]}
TENSOR = {"names": ["a", "b"], "tensor": {"shape": [2, 2], "values": [1.0, 2.0, 3.0, 4.5]}}
WORDS = {"ndarray": [["x", "y"]]}
META = {"puid": "7", "tags": {"mine": 1, "model": "me"}}
NUMBERS: Any = ("FP64", (-1, -1))
TEXT: Any = ("BYTES", ())
MORE = """

class Tells(Based):
    def tags(self):
        return {"model": "told", "deep": False, "size": 1.5, "word": "x"}


class TellsMore(Tells):
    def predict(self, X, names):
        return SeldonResponse(X, {"model": "more"}, [create_counter("calls", 2)])
"""


class Case(NamedTuple):
    """A class, the payload of the message, and the method that is called."""

    cls: str
    payload: dict[str, Any]
    method: str = "predict"
    args: dict[str, Any] = {}  # noqa: RUF012 - it is only read
    takes: Any = NUMBERS

    @property
    def message(self) -> dict[str, Any]:
        return {**self.payload, "meta": META}


def returns(value: Any, payload: dict[str, Any] | None = None) -> Case:
    return Case("Returns", payload or {"data": ROWS}, args={"value": value},
                takes=NUMBERS if payload is None else TEXT)  # fmt: skip


CLASSES = ["Plain", "NoMeta", "AnyKeywords", "Attribute", "Shows", "RawLeftOut", "Tells",
           "TellsMore"]  # fmt: skip
VALUES: list[Any] = [[[1, 2]], [[1.5]], [1.5, 2.5], [["a", "b"]], ["a"], {"a": [1, None]}, "text",
                     [], [[True, False]], [[{"a": 1}, {"b": None}]]]  # fmt: skip
EQUAL = [
    *(Case(cls, {"data": data}) for cls in CLASSES for data in (ROWS, TENSOR)),
    *map(returns, VALUES),
    *(returns(value, {"strData": "a"}) for value in VALUES),
    *(Case(cls, {"data": ROWS}, method) for cls, method in
      [("Both", "transform_input"), ("Both", "transform_output"), ("PassesOn", "transform_input")]),
    Case("Shows", {"data": WORDS}, takes=("BYTES", (-1, -1))),
    Case("Shows", {"strData": "café"}, takes=TEXT),
    Case("Shows", {"jsonData": {"a": [1, None]}}, takes=TEXT),
]  # fmt: skip
OTHER: list[tuple[Case, list[Any], list[Any]]] = [
    # A number alone, and lists that are ragged, are answers here.
    (returns(3), [200, "OK"], [400, "UNKNOWN"]),
    (returns([[1], [2, 3]]), [200, "OK"], [500, "UNKNOWN"]),
    # Tags may be numbers of NumPy.
    (Case("Based", {"data": ROWS}), [200, "OK"], [500, "UNKNOWN"]),
    # Methods with a whole message get a dict over gRPC, too, and this one knows no other.
    (Case("Raw", {"data": ROWS}), [200, "OK"], [200, "UNKNOWN"]),
    # What a component returns or raises is no mistake of the client unless it says so.
    (returns(None), [500, "INTERNAL"], [400, "UNKNOWN"]),
    (Case("Fails", {"data": ROWS}), [418, "INTERNAL"], [418, "UNKNOWN"]),
    (Case("FailsOddly", {"data": ROWS}), [500, "INTERNAL"], [200, "UNKNOWN"]),
    (Case("BadMetrics", {"data": ROWS}), [500, "INTERNAL"], [500, "UNKNOWN"]),
]
"""Cases with other statuses over HTTP and gRPC: ours, and those of the wrapper."""
CASES = [*EQUAL, *(case for case, _, _ in OTHER)]


def theirs(folder: Path, python: Path) -> list[Any]:
    script = Path(__file__).with_name("wrapper_script.py")
    sent = [[case.cls, case.args, case.method, case.message] for case in CASES]
    done = subprocess.run([str(python), str(script), str(folder)], input=json.dumps(sent),
                          capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[Any] = json.loads(done.stdout)
    return found


def graph_of(case: Case, root: Path) -> Graph:
    graph = Graph("demo", root=root, protocols=["seldon"]).input("data", *case.takes)
    node = {"component": f"components.py:{case.cls}", "contract": "seldon", "args": case.args,
            "inputs": {"X": "data"}}  # fmt: skip
    if case.method == "predict":
        graph.predictor("m", **node)
    else:
        graph.transformer("m", **node, method=case.method)
    return graph.output("y", "m")


async def ours(case: Case, root: Path) -> list[Any]:
    graph = graph_of(case, root)
    plan = graph.plan
    executor = HeadExecutor(plan, await load_nodes(plan, plan.nodes, root))
    arms = Arms("demo", lambda revision: LocalHead(executor), RequestLimits())
    arms.apply(make_table(revisions={3: plan.signature}))
    try:
        body = json.dumps(case.message).encode()
        over_http = list(await asked(seldon_app(arms)[0], "/api/v1.0/predictions", body, {}))
        async with served(arms) as stub:
            try:
                over_grpc: list[Any] = ["OK", await stub("Predict", case.message)]
            except grpc.aio.AioRpcError as error:
                over_grpc = [error.code().name, error.details()]
    finally:
        executor.close()
    return [over_http, over_grpc]


def essence(reply: list[Any]) -> list[Any]:
    status, document = reply
    if not isinstance(document, dict):
        return reply
    document.pop("trailer", None)
    meta = document.get("meta", {})
    meta.pop("requestPath", None)
    meta.get("tags", {}).pop(ROUTING_TAG, None)
    return [status, _without_empty(document)]


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        found = {key: _without_empty(one) for key, one in value.items()}
        return {key: one for key, one in found.items() if one not in ({}, [])}
    return value


@pytest.mark.nightly
def test_answers_are_those_of_seldons_wrapper(tmp_path: Path) -> None:
    (tmp_path / "components.py").write_text(SOURCE + MORE)
    python = environment(tmp_path / "environment", "seldon-core>=1.17,<2")
    expected = iter(theirs(tmp_path, python))
    for case in EQUAL:
        for ours_, theirs_ in zip(asyncio.run(ours(case, tmp_path)), next(expected), strict=True):
            assert essence(ours_) == essence(theirs_), case
    for case, statuses, others in OTHER:
        assert [status for status, _ in asyncio.run(ours(case, tmp_path))] == statuses, case
        assert [status for status, _ in next(expected)] == others, case
