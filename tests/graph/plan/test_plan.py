"""How a plan looks, as text and in a notebook."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from anabranch import Graph

SVG = "{http://www.w3.org/2000/svg}"
QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart" / "graph.yaml"


def graph() -> Graph:
    return (
        Graph("shop")
        .input("x", "FP32", [-1, 2])
        .predictor("fast", component="c.py:Fast", inputs={"x": "x"})
        .predictor("slow", component="c.py:Slow", inputs={"x": "x"}, resources={"cpu": 1})
        .router("pick", strategy="weighted", routes={"fast": 1.0, "slow": 1.0})
        .output("y", "pick")
    )


def test_a_plan_says_what_runs_where() -> None:
    assert repr(graph().plan) == (
        "Plan of 'shop', 2 segments, 1 hop on the critical path\n  head: fast, pick\n  slow: slow"
    )


def test_a_plan_is_drawn_with_its_segments() -> None:
    html = graph().plan._repr_html_()
    assert "2 segments, 1 hop on the critical path" in html
    assert "<td>slow</td><td>slow</td><td>cpu 1.0</td>" in html
    page = ElementTree.fromstring(f"<page>{html}</page>")
    boxes = [one.attrib["fill"] for one in page.iter(f"{SVG}rect")]
    assert len(boxes) == 5
    fast, slow, pick = boxes[1:4]
    assert fast == pick != slow


def test_edges_are_what_leads_to_what() -> None:
    assert [(one.source, one.target, one.is_dotted) for one in graph().plan.edges] == [
        ("in_x", "node_fast", False),
        ("in_x", "node_slow", False),
        ("node_fast", "node_pick", True),
        ("node_slow", "node_pick", True),
        ("node_pick", "out_y", False),
    ]


def test_a_graph_is_drawn_by_types_and_tells_its_mistakes() -> None:
    loaded = Graph.load(QUICKSTART)
    assert repr(loaded) == "Graph('quickstart', 1 input, 3 nodes)"
    page = ElementTree.fromstring(f"<page>{loaded._repr_html_()}</page>")
    shown = [str(one.text) for one in page.iter(f"{SVG}text")]
    assert {"fruit", "linear", "vote", "combiner mean", "probabilities"} <= set(shown)
    html = loaded.output("no", "<nowhere>")._repr_html_()
    assert "has mistakes:" in html and "&lt;nowhere&gt;" in html and "<nowhere>" not in html
