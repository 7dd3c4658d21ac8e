from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import Loaded, load_text, open_graph
from anabranch.graph.compile.render import plan_to_json
from anabranch.graph.plan.plan import Ref

TEXT = """\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: g}
spec:
  inputs:
    x: {datatype: FP32, shape: [-1, 2]}
    words: {datatype: BYTES, shape: [-1]}
    one: {datatype: FP32, shape: []}
    big: {datatype: FP32, shape: [-1, 32, 33]}
  nodes:
    a: {type: transformer, method: softmax, inputs: {x: x}}
    pair:
      type: transformer
      component: c.py:C
      inputs: {a: a, words: words, one: one, big: big}
      outputs:
        left: {datatype: FP32, shape: [-1]}
        right: {datatype: FP32, shape: [-1]}
    idle: {type: transformer, method: softmax, inputs: {x: x}}
    why: {type: explainer, explains: a, method: kernel_shap, data: d.npy}
  outputs: {y: pair.left}
  monitors:
"""


def load(monitor: str, rest: str = "") -> Loaded:
    return load_text(f"{TEXT}    m: {monitor}\n{rest}", "f")


def said(monitor: str, rest: str = "") -> str:
    with pytest.raises(SpecError) as error:
        load(monitor, rest)
    return "\n".join(str(each) for each in error.value.problems)


def test_what_is_watched_is_resolved() -> None:
    reference = "reference: {first: 10}"
    plan = load(f"{{method: ks, watches: [x, a, pair.right], {reference}}}").plan
    assert plan.monitors["m"].watches == {
        "x": Ref(None, "x"),
        "a": Ref("a", None),
        "pair.right": Ref("pair", "right"),
    }
    assert plan_to_json(plan)["monitors"] == {
        "m": {"method": "ks", "watches": ["x", "a", "pair.right"], "window": 200}
    }
    assert "idle" not in plan.nodes


@pytest.mark.parametrize(
    ("monitor", "problem"),
    [
        ("{method: kss, watches: [x], reference: {first: 50}}",
         "method: unknown monitor method 'kss' (did you mean 'ks'? available: alibi_detect, "
         "chi_square, drift, isolation_forest, ks, mahalanobis, psi, sketch)"),
        ("{watches: [x]}", "needs either `component`, your class, or a built-in `method` such as "
         "drift"),
        ("{method: sketch, component: 'c.py:M', watches: [x]}",
         "method: a monitor has either `component` or `method`; remove one"),
        ("{method: ks, watches: [x]}",
         "ks compares with a `reference`: {data: FILE}, or {first: N} rows"),
        ("{method: sketch, watches: [x], reference: {first: 50}}",
         "reference: sketch takes no reference; remove this field"),
        ("{method: ks, watches: [x], reference: {first: 5}}",
         "reference.first: ks needs at least 10 rows"),
        ("{method: ks, watches: [x], reference: {first: 50, data: d.npy}}",
         "reference: needs either `data`, a file, or `first`, a number of rows"),
        ("{method: ks, watches: [x], reference: {}}",
         "reference: needs either `data`, a file, or `first`, a number of rows"),
        ("{method: ks, watches: [x], reference: {first: 50}, args: {false_alarm: 1}}",
         "args.false_alarm: unknown argument of monitor 'ks' (did you mean 'false_alarm_rate'? "
         "available: false_alarm_rate)"),
        ("{method: ks, watches: [x], reference: {first: 50}, args: {false_alarm_rate: 1.0}}",
         "args.false_alarm_rate: must be less than 1, not 1.0"),
        ("{method: psi, watches: [x], reference: {first: 50}, args: {bins: 1}}",
         "args.bins: must be at least 2, not 1"),
        ("{method: ks, watches: [words], reference: {first: 50}}",
         "ks is for numbers, and words holds texts: use chi_square or drift, or watch another "
         "source"),
        ("{method: sketch, watches: [one]}",
         "watches.0: 'one' is FP32[], a single value; a monitor looks at rows (dimension 0)"),
        ("{method: sketch, watches: [big]}",
         "watches 1056 features (big 1056), at most 1024: watch a node with fewer features"),
        ("{method: sketch, watches: [x, x]}", "watches.1: 'x' is already in the list"),
        ("{method: sketch, watches: [y]}",
         "watches.0: there is no graph input or node 'y' (available: a, big, idle, one, pair, "
         "why, words, x)"),
        ("{method: sketch, watches: [pair]}",
         "watches.0: 'pair' has several outputs; name one of: pair.left, pair.right"),
        ("{method: sketch, watches: [pair.middle]}",
         "watches.0: 'pair' has no output 'middle' (available: left, right)"),
        ("{method: sketch, watches: [x.left]}",
         "watches.0: 'x' is a graph input, which has no outputs; write 'x'"),
        ("{method: sketch, watches: [why]}",
         "watches.0: 'why' is an explainer, which gives no tensors"),
        ("{method: sketch, watches: [idle]}",
         "watches.0: no output needs node 'idle', so it never runs, and a monitor does not make "
         "it run: watch another node, or make this one an output"),
    ],
)  # fmt: skip
def test_mistakes(monitor: str, problem: str) -> None:
    found = said(monitor)
    assert found.startswith("f:23:")
    _, _, text = found.partition(": spec.monitors.m")
    assert text.removeprefix(".").removeprefix(": ") == problem


def test_two_watches_that_are_one_parameter() -> None:
    text = TEXT.replace("pair:\n", "pair-left:\n").replace("y: pair.left", "y: pair-left.left")
    with pytest.raises(SpecError, match=r"'pair-left.left' and 'pair.left-left' would both"):
        load_text(
            text.replace("    idle:", "    pair: {type: transformer, component: 'c.py:D', "
                         "inputs: {x: x}, outputs: {left-left: {datatype: FP32, shape: [-1]}}}\n"
                         "    idle:")
            .replace("outputs: {y: pair-left.left}", "outputs: {y: pair-left.left, z: pair}")
            + "    m: {component: 'c.py:M', watches: [pair-left.left, pair.left-left]}\n"
        )  # fmt: skip


def test_drift_is_judged_where_there_are_monitors() -> None:
    rollout = (
        "  rollout: {steps: [5], analysis: {interval: 1s, metrics: [{metric: drift, max: 1}]}}\n"
    )
    assert load("{method: sketch, watches: [x]}", rollout)
    with pytest.raises(SpecError) as error:
        load_text(TEXT.replace("  monitors:\n", rollout))
    (problem,) = error.value.problems
    assert problem.path == ("spec", "rollout", "analysis", "metrics", 0, "metric")
    assert problem.message == "`drift` is measured by `monitors`, and the graph has none"


def test_no_node_is_called_as_the_deployment() -> None:
    with pytest.raises(SpecError, match="this name is taken: it is the deployment that watches"):
        load_text(TEXT.replace("idle:", "monitors:").replace("  monitors:\n", "", 1))


def test_a_reference_in_a_file_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(f"{TEXT}    m: {{method: ks, watches: [x], reference: {{data: d.npy}}}}\n")
    with pytest.raises(SpecError) as error:
        open_graph(path)
    (problem,) = error.value.problems
    assert problem.path == ("spec", "monitors", "m", "reference", "data")
    assert "there is no file" in problem.message
    (tmp_path / "d.npy").touch()
    assert open_graph(path).plan.monitors
