"""Builder and YAML are the same language."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from anabranch import Graph
from anabranch.errors import InvalidRequest, SpecError
from anabranch.graph.compile.loading import load_text, open_graph
from anabranch.specs.models import (
    Compare,
    InferenceGraph,
    Reference,
    Resources,
    Scaling,
    Serving,
    TrafficRule,
)
from anabranch.specs.units import Duration
from tests.examples import examples
from tests.strategies import graphs

ROOT = Path(__file__).parent
EXAMPLES = sorted(
    path
    for path in (Path(__file__).parents[2] / "examples").glob("*/*.yaml")
    if "kind: Model\n" not in path.read_text()  # documents that no builder makes
)


class Double:
    """Doubles."""

    def transform(self, x: np.ndarray) -> np.ndarray:
        return x * 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_example_survives_the_round_trip(path: Path, tmp_path: Path) -> None:
    loaded = open_graph(path)
    built = Graph.from_spec(loaded.graph, root=loaded.root)
    assert built.spec == loaded.graph
    assert built.plan == loaded.plan
    built.save(tmp_path / "again.yaml")
    again = open_graph(tmp_path / "again.yaml")
    assert again.graph == loaded.graph
    assert again.plan == loaded.plan


@settings(max_examples=examples(200))
@given(graphs())
def test_generated_graphs_survive_the_round_trip(graph: InferenceGraph) -> None:
    built = Graph.from_spec(graph)
    try:
        plan = built.plan
    except SpecError as error:
        # What does not compile must fail alike on both ways.
        with pytest.raises(SpecError) as other:
            load_text(__import__("json").dumps(graph.to_dict()))
        said = sorted((problem.path, problem.message) for problem in error.problems)
        assert sorted((p.path, p.message) for p in other.value.problems) == said
        return
    again = load_text(built.to_yaml())
    assert again.graph == graph == built.spec
    assert again.plan == plan


def full() -> Graph:
    """Every method and every option."""
    return (
        Graph(
            "full",
            labels={"team": "vision"},
            timeout="2s",
            scaling=Scaling(replicas=2),
            serving=Serving(port=7000),
        )
        .input("x", "FP32", [-1, 4])
        .transformer("soft", method="softmax", inputs={"x": "x"}, args={"axis": -1})
        .predictor(
            "model",
            runtime="sklearn",
            model=Path("models/m.joblib"),
            sha256="0" * 64,
            method="predict_proba",
            inputs={"x": "soft"},
            resources=Resources(cpu=1.0),
            scaling={"replicas": 2},
            timeout=Duration.parse("250ms"),
            idempotent=True,
            retries=1,
            on_error={"use": "soft"},
            outputs={"output": ("FP32", [-1, 4])},
        )
        .predictor("mine", component="c.py:C", inputs={"x": "soft"}, placement={"isolate": True})
        .combiner("both", strategy="mean", quorum=1, inputs=["model", "soft"])
        .combiner("mapped", component="c.py:D", inputs={"a": "mine", "b": "x"})
        .router(
            "pick",
            strategy="weighted",
            routes={"both": 9.0, "soft": 1.0},
            sticky={"cookie": "session"},
        )
        .router(
            "ruled",
            strategy="rules",
            rules=[{"when": "request.headers['tier'] == 'gold'", "to": "mine"}],
            otherwise="mapped",
        )
        .explainer("why", explains="model", method="anchor_tabular", data="sample.npz")
        .output("y", "pick")
        .output("z", "ruled")
        .traffic(
            sticky={"header": "x-user-id"},
            rules=[TrafficRule(when="has(request.parameters.test)", to="candidate")],
            compare=Compare(rtol=0.01),
            grace=Duration.parse("5m"),
        )
        .rollout(
            steps=[5.0, 50.0],
            hold="2m",
            analysis={"interval": "10s", "metrics": [{"metric": "latency_p95", "max": "1.2x"}]},
            mirror=10,
            webhooks=["https://hooks.example/x"],
            gate="http://127.0.0.1:9/gate",
        )
        .telemetry(trace="1%", requests={"sample": "10%", "redact": ["y"], "format": "parquet"})
        .monitor(
            "watch",
            method="drift",
            args={"false_alarm_rate": 0.05},
            watches=["x"],
            reference=Reference(first=500),
            window=50,
            sample="10%",
        )
    )


def test_everything_that_yaml_can_say_can_be_built() -> None:
    text = full().to_yaml()
    loaded = load_text(text)
    assert loaded.graph == full().spec
    assert loaded.plan == full().plan
    for word in (
        "sticky",
        "rules",
        "compare",
        "grace",
        "hold",
        "gate",
        "webhooks",
        "isolate",
        "anchor_tabular",
        "on_error",
        "sha256",
        "telemetry",
        "monitors",
        "false_alarm_rate",
    ):
        assert word in text


def test_what_no_method_sets_is_kept_from_a_spec() -> None:
    text = full().to_yaml().replace("spec:\n", "spec:\n  warmup: {requests: 3}\n", 1)
    graph = load_text(text).graph
    assert graph.spec.warmup is not None
    assert Graph.from_spec(graph).spec == graph


def test_a_class_is_a_component() -> None:
    graph = Graph("g").input("x", "FP32", [-1]).output("y", "d")
    graph.transformer("d", component=Double, inputs={"x": "x"})
    assert graph.run({"x": np.array([1, 2], np.float32)})["y"].tolist() == [2, 4]
    graph.close()


def test_a_class_inside_a_function_is_refused() -> None:
    class Inner:
        pass

    with pytest.raises(ValueError, match=r"Inner is not at the top of a module"):
        Graph("g").transformer("a", component=Inner, inputs={"x": "x"})


def test_names_are_given_once() -> None:
    graph = Graph("g").input("x", "FP32", [-1])
    with pytest.raises(ValueError, match="graph 'g' already has the input 'x'"):
        graph.input("x", "FP32", [-1])


def test_mistakes_come_all_at_once_when_the_graph_is_used() -> None:
    graph = Graph("Bad Name").input("x", "FP99", [-1]).output("y", "nowhere")
    graph.transformer("a", method="softmaks", inputs={"x": "x"})
    with pytest.raises(SpecError) as caught:
        assert graph.plan
    paths = {".".join(map(str, problem.path)) for problem in caught.value.problems}
    assert {"metadata.name", "spec.outputs.y", "spec.nodes.a.method"} <= paths
    assert any(path.startswith("spec.inputs.x") for path in paths)
    assert all(problem.position is None for problem in caught.value.problems)


def doubling(**options: Any) -> Graph:
    graph = Graph("g", **options).input("x", "FP32", [-1, 2]).output("y", "d")
    return graph.transformer("d", component=Double, inputs={"x": "x"})


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, r"input 'x' \(FP32\[-1, 2\]\) is missing"),
        ({"x": np.ones((1, 2), np.float32), "z": 1}, "graph 'g' has no input 'z'"),
        ({"x": np.ones((1, 2))}, "input 'x': datatype FP64, expected FP32"),
        ({"x": np.ones((2, 1), np.float32)}, r"input 'x': shape \[2, 1\], expected \[-1, 2\]"),
    ],
)
def test_run_checks_its_inputs(inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        doubling().run(inputs)


def test_run_leaves_the_callers_arrays_alone_and_works_inside_a_running_loop() -> None:
    graph = Graph("g", root=ROOT).input("x", "INT64", [-1]).output("y", "a")
    graph.transformer("a", component="parts.py:InPlace", inputs={"x": "x"})
    mine = np.array([1])

    async def notebook() -> None:
        with pytest.raises(Exception, match="read-only"):
            graph.run({"x": mine})

    asyncio.run(notebook())
    assert mine.tolist() == [1]
    assert mine.flags.writeable


def test_changing_a_graph_after_a_run_compiles_it_again() -> None:
    graph = doubling()
    x = {"x": np.ones((1, 2), np.float32)}
    assert list(graph.run(x)) == ["y"]
    graph.output("raw", "x")
    assert sorted(graph.run(x)) == ["raw", "y"]
    assert list(graph.run(x, ["raw"])) == ["raw"]


def test_headers_reach_the_rules() -> None:
    graph = Graph("g").input("x", "FP32", [-1, 2]).output("y", "pick")
    graph.transformer("d", component=Double, inputs={"x": "x"})
    graph.transformer("same", method="cast", args={"datatype": "FP32"}, inputs={"x": "x"})
    rule = {"when": "request.headers['x-tier'] == 'gold'", "to": "d"}
    graph.router("pick", strategy="rules", rules=[rule], otherwise="same")
    x = {"x": np.ones((1, 2), np.float32)}
    assert graph.run(x)["y"].tolist() == [[1, 1]]
    assert graph.run(x, headers={"X-Tier": "gold"})["y"].tolist() == [[2, 2]]
