from __future__ import annotations

from anabranch.control.watching.models import WatchedReference, watched_references
from anabranch.graph.compile.loading import load_text

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: g}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    a: {type: predictor, runtime: sklearn, model: "models:/m@c#a.skops", watch: true,
      inputs: {x: x}}
    b: {type: predictor, runtime: sklearn, model: "models:/m@c#b.skops", watch: {every: 5s},
      inputs: {x: x}}
    c: {type: predictor, runtime: sklearn, model: "models:/n@c#b.skops", inputs: {x: x}}
    d: {type: predictor, runtime: sklearn, model: "s3://b/d.skops", watch: {}, inputs: {x: x}}
  outputs: {a: a, b: b, c: c, d: d}
"""


def test_what_a_graph_watches() -> None:
    assert watched_references(load_text(SPEC).graph) == {
        "models:/m@c": WatchedReference(("a", "b"), 5.0),
        "s3://b/d.skops": WatchedReference(("d",), 30.0),
    }
