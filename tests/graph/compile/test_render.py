"""The plan as a picture and as JSON."""

from __future__ import annotations

import json

from anabranch import Graph
from anabranch.graph.compile.render import plan_to_json, to_mermaid


def graph() -> Graph:
    built = Graph("g").input("x", "FP32", [-1, 4])
    built.transformer("scale", method="scale", args={"divide_by": 2.0}, inputs={"x": "x"})
    built.predictor("net", component="c.py:Net", inputs={"x": "scale"},
                    resources={"gpu": 0.5}, on_error={"use": "scale"})  # fmt: skip
    built.router("pick", strategy="weighted", routes={"scale": 1.0, "net": 1.0})
    return built.combiner("mean", strategy="mean", inputs=["net", "pick"]).output("y", "mean")


MERMAID = """\
flowchart LR
  in_x(["x: FP32[-1, 4]"])
  subgraph seg_head ["head"]
    node_scale["scale"]
    node_pick{"pick"}
    node_mean{{"mean"}}
  end
  subgraph seg_net ["net, gpu 0.5"]
    node_net[["net"]]
  end
  out_y(["y"])
  in_x -->|x| node_scale
  node_scale -->|x| node_net
  node_scale -.->|on error| node_net
  node_scale -.-> node_pick
  node_net -.-> node_pick
  node_net --> node_mean
  node_pick --> node_mean
  node_mean --> out_y
"""


def test_mermaid() -> None:
    assert to_mermaid(graph().plan) == MERMAID


def test_json() -> None:
    found = plan_to_json(graph().plan)
    assert found["segments"] == [
        {
            "name": "head",
            "nodes": ["scale", "pick", "mean"],
            "resources": None,
            "scaling": None,
            "placement": None,
        },
        {
            "name": "net",
            "nodes": ["net"],
            "resources": {"gpu": 0.5},
            "scaling": None,
            "placement": None,
        },
    ]
    assert found["critical_path_hops"] == 1
    assert found["warnings"] == []
    assert found["nodes"]["net"]["spec"]["component"] == "c.py:Net"
    assert json.loads(json.dumps(found)) == found


def test_explainers() -> None:
    built = graph().explainer("why", component="c.py:Why", explains="net")
    text = to_mermaid(built.plan)
    assert '  subgraph seg_why ["why"]\n    node_why[/"why"/]\n  end\n' in text
    assert "  node_scale -->|x| node_why\n  node_net -.->|explained by| node_why\n" in text
    found = plan_to_json(built.plan)
    assert found["nodes"]["why"]["explains"] == {
        "node": "net", "copies": ["scale"], "calls": ["net"],
    }  # fmt: skip
    assert "explains" not in found["nodes"]["net"]
    assert found["critical_path_hops"] == 1
