"""Explanations a second, of each method: ``python -m benchmarks.explaining``.

First in this process, by turns: a method's explainer, its library alone, and the same through a
graph (``Graph.explain``), on the same model and the same rows, another row each time, in this order
and in the other one. Then over HTTP, through an explainer with one replica and one with two. A
method that speaks of the model as a whole is loaded anew for each explanation, since it is worked
out only once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml

from anabranch import Graph
from anabranch.components.binding import bind
from anabranch.components.contract import DEFAULT_OUTPUT, Context
from anabranch.specs.models import NodeBase, TensorSpec
from benchmarks.engine import Engine, engine
from benchmarks.explained_cases import (
    CASES,
    ByHand,
    Case,
    Counted,
    Passes,
    inputs,
    made,
    name_of,
    predictors,
    prepare,
    row_of,
    spec,
)
from benchmarks.load import load, tool
from benchmarks.options import parse
from benchmarks.outcome import outcome

GOAL = 1.3
"""Most times the library's own time that one explanation may take."""
MOST_ADDED_MS = 0.2
"""What a graph may add to an explanation, and a graph with HTTP."""
OVER_HTTP = ("kernel_shap", "anchor_tabular")
CLIENTS = 8
WARM_UP = 2
"""Explanations before the first that counts, at either side."""


@dataclass
class Timed:
    """Explanations of one side: seconds of each, and what was asked of the model."""

    seconds: list[float] = field(default_factory=list)
    calls: int = 0
    rows: int = 0

    @property
    def rate(self) -> float:
        """Explanations a second."""
        return len(self.seconds) / sum(self.seconds)


@dataclass(frozen=True)
class Measured:
    """A method by its explainer, through a graph, and by its library."""

    method: str
    explainer: Timed
    graph: Timed
    library: Timed

    def ratio(self, side: Timed) -> float:
        """How many times the library's time a side takes: the median over the rows."""
        pairs = zip(side.seconds, self.library.seconds, strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


class InProcess:
    """The explained node as a model in this process, without a graph; counts its calls."""

    def __init__(self, spec: NodeBase, root: Path, types: Mapping[str, TensorSpec]) -> None:
        self.node: NodeBase | None = spec
        self._bound = bind("explained", spec, root)
        self.instance, self.inputs, self.outputs = self._bound.instance, types, None
        self.calls = self.rows = 0

    def __call__(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        self.calls += 1
        self.rows += len(next(iter(inputs.values())))
        found = self._bound.call(**inputs)
        return found if isinstance(found, dict) else {DEFAULT_OUTPUT: found}


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="ab-") as name:
        root = Path(name)
        prepare(root)
        cases = [case for case in CASES if not options.only or case.method in options.only]
        found = [_case(case, root, options.times) for case in cases]
        print(_table(found))
        goals = [
            (f"{one.method}: {ratio:.2f} × the library's time (goal: {GOAL})", ratio <= GOAL)
            for one in found
            for ratio in [one.ratio(one.explainer)]
        ]
        goals += _added(found)
        if not options.alone:
            goals += _http(root, options.seconds)
    return outcome(goals)


def _added(found: Sequence[Measured]) -> list[tuple[str, bool]]:
    """What a graph adds to an explanation of the fastest method: there it shows most."""
    whole = [one for one in found if one.graph.seconds]
    if not whole:
        return []
    one = min(whole, key=lambda one: statistics.median(one.explainer.seconds))
    pairs = zip(one.graph.seconds, one.explainer.seconds, strict=True)
    added = statistics.median(graph - alone for graph, alone in pairs) * 1e3
    text = f"a graph adds {added:.2f} ms to {one.method} (goal: {MOST_ADDED_MS:g})"
    return [(text, added <= MOST_ADDED_MS)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explaining")
    parser.add_argument("--times", type=int, default=15, help="explanations each (default: 15)")
    parser.add_argument("--seconds", type=float, default=6, help="over HTTP, each (default: 6)")
    parser.add_argument("--only", nargs="*", help="methods (default: all)")
    parser.add_argument("--alone", action="store_true", help="leave out what goes over HTTP")
    return parse(parser, times=1, seconds=1)


def _case(case: Case, root: Path, times: int) -> Measured:
    print(f"{case.method} …", file=sys.stderr)
    counted = predictors()[case.explains]
    by_hand = case.by_hand(made(), counted)
    found = Measured(case.method, Timed(), Timed(), Timed())
    nothing = Measured(case.method, Timed(), Timed(), Timed())
    if case.whole:
        times = max(3, times // 3)
    with _graph(case, root) as graph:
        model = _model(graph, case)
        explainer = _explainer(graph, case, model)
        with _counters(case, model, counted) as (ours, theirs):
            for number in range(times + WARM_UP):
                into = found if number >= WARM_UP else nothing
                if case.whole:
                    explainer = _explainer(graph, case, model, load=False)
                turns = [
                    partial(_by_explainer, explainer, model, ours, case, number, into.explainer),
                    partial(_by_hand, by_hand, case, theirs, number, into.library),
                ]
                if not case.whole:
                    turns.append(partial(_through_graph, graph, number, into.graph))
                # Who comes after the explainer's other turn finds the caches warm.
                for turn in turns if number % 2 else reversed(turns):
                    turn()
    return found


@contextmanager
def _counters(case: Case, model: InProcess, counted: Counted) -> Iterator[tuple[Any, Any]]:
    """What counts the calls of the model on each side: for a network, what passes through it."""
    if case.explains != "net":
        yield model, counted
        return
    ours, theirs = Passes(model.instance.module), Passes(made().net)
    yield ours, theirs
    ours.remove()
    theirs.remove()


def _graph(case: Case, root: Path) -> Graph:
    path = root / f"{case.method}.yaml"
    head = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph", "metadata": {"name": "g"}}
    path.write_text(yaml.safe_dump({**head, "spec": spec([case])}))
    return Graph.load(path)


def _model(graph: Graph, case: Case) -> InProcess:
    node = graph.plan.nodes[case.explains]
    ((parameter, source),) = node.inputs.items()
    types = {parameter: graph.plan.inputs[str(source)].tensor}
    return InProcess(node.spec, graph.root, types)


def _explainer(graph: Graph, case: Case, model: InProcess, load: bool = True) -> Any:
    bound = bind("why", graph.plan.nodes[name_of(case)].spec, graph.root)
    bound.instance.attach(model)
    if load:
        bound.instance.load()
    return bound


def _by_explainer(
    bound: Any, model: InProcess, count: Any, case: Case, number: int, into: Timed
) -> None:
    row, calls, rows = row_of(case, number), count.calls, count.rows
    parameter = next(iter(model.inputs))
    before = time.perf_counter()
    if case.whole:
        bound.instance.load()
    bound.call(context=Context(parameters={"seed": number}), **{parameter: row})
    into.seconds.append(time.perf_counter() - before)
    into.calls += count.calls - calls
    into.rows += count.rows - rows


def _by_hand(by_hand: ByHand, case: Case, count: Any, number: int, into: Timed) -> None:
    row, calls, rows = row_of(case, number), count.calls, count.rows
    before = time.perf_counter()
    by_hand(row, number)
    into.seconds.append(time.perf_counter() - before)
    into.calls += count.calls - calls
    into.rows += count.rows - rows


def _through_graph(graph: Graph, number: int, into: Timed) -> None:
    given = inputs(number)
    before = time.perf_counter()
    graph.explain(given, seed=number)
    into.seconds.append(time.perf_counter() - before)


def _http(root: Path, seconds: float) -> list[tuple[str, bool]]:
    """Explanations a second with one replica and with two, and what came of the goal."""
    cases = [case for case in CASES if case.method in OVER_HTTP]
    goals = []
    with engine() as one:
        for case in cases:
            rates = [_replicated(one, root, case, count, seconds) for count in (1, 2)]
            text = (
                f"{case.method} over HTTP: {rates[1]:.1f}/s with 2 replicas, {rates[0]:.1f} with 1"
            )
            goals.append((text, rates[1] > rates[0]))
        goals.append(_remembered(one, root, cases[0], max(1, round(seconds))))
    return goals


def _remembered(one: Engine, root: Path, case: Case, seconds: int) -> tuple[str, bool]:
    """What a graph and HTTP add: the time of an explanation that the explainer remembers."""
    name = "remembered"
    url = one.deploy(root, name, spec([case])).removesuffix("infer") + "explain"
    body = json.dumps(_body(0)).encode()
    try:
        load(url, 1, 1, tool(), body)  # the first is computed
        found = load(url, 1, seconds, tool(), body)
    finally:
        one.command("delete", name, "--yes")
    text = f"graph and HTTP add {found.p50:.2f} ms to {case.method}, {found.failed} failed"
    good = found.p50 <= MOST_ADDED_MS and not found.failed
    return f"{text} (goal: {MOST_ADDED_MS:g})", good


def _replicated(one: Engine, root: Path, case: Case, replicas: int, seconds: float) -> float:
    name = f"{case.method.replace('_', '-')}-{replicas}"
    scaling = {"replicas": replicas, "max_queue": 4 * CLIENTS}
    url = one.deploy(root, name, spec([case], scaling=scaling)).removesuffix("infer") + "explain"
    try:
        clients = HttpLoad(url)
        clients.run(seconds / 3)  # every replica has explained before it counts
        return clients.run(seconds)
    finally:
        one.command("delete", name, "--yes")


class HttpLoad:
    """Clients that each ask for one explanation after the other, none of them twice."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = iter(range(10**9))

    def run(self, seconds: float) -> float:
        """Ask for so long; explanations a second."""
        counts: list[int] = []
        ends = time.monotonic() + seconds
        began = time.perf_counter()
        threads = [threading.Thread(target=self._ask, args=(ends, counts)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(counts) < CLIENTS:
            raise RuntimeError("a client's explanation failed")
        return sum(counts) / (time.perf_counter() - began)

    def _ask(self, ends: float, counts: list[int]) -> None:
        done = 0
        with httpx.Client(timeout=60) as client:
            while time.monotonic() < ends:
                client.post(self._url, json=_body(next(self._numbers))).raise_for_status()
                done += 1
        counts.append(done)


def _body(number: int) -> dict[str, Any]:
    given = inputs(number % 50)
    tensors = [
        {
            "name": name, "shape": list(array.shape), "data": array.ravel().tolist(),
            "datatype": "BYTES" if array.dtype == object else "FP32",
        }
        for name, array in given.items()
    ]  # fmt: skip
    # The seed makes each of them another explanation, which no cache holds.
    return {"inputs": tensors, "parameters": {"seed": number}}


def _table(found: Sequence[Measured]) -> str:
    heads = ("method", "library", "explainer", "×", "graph", "×", "library", "explainer")
    lines = [
        f"{'':28}{'explanations a second':>38}{'':>22}{'calls of the model a second':>28}",
        f"{heads[0]:28}"
        + "".join(f"{head:>14}" if len(head) > 1 else f"{head:>8}" for head in heads[1:]),
    ]
    for one in found:
        graph = (
            f"{one.graph.rate:14.1f}{one.ratio(one.graph):8.2f}" if one.graph.seconds else " " * 22
        )
        calls = "".join(
            f"{side.calls / sum(side.seconds):14.0f}" if side.calls else f"{'-':>14}"
            for side in (one.library, one.explainer)
        )
        lines.append(
            f"{one.method:28}{one.library.rate:14.1f}{one.explainer.rate:14.1f}"
            f"{one.ratio(one.explainer):8.2f}{graph}{calls}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
