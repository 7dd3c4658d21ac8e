"""A spec with a dozen mistakes, of every layer: each is reported, at its place, in one pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_text

SPEC = """\
apiVersion: anabranch/v1
kind: InferenceGraf
metadata:
  name: Digits
spec:
  inputs:
    pixels: {datatype: FP32, shape: [-1, 64]}
    extra: {datatype: FLOAT, shape: [-1]}
  nodes:
    scale:
      type: transformer
      component: components.py:Scale
      input: {pixels: pixels}
      inputs: {pixels: pixel}
    forest:
      type: predictor
      runtime: sklearm
      model: models/forest.joblib
      inputs: {x: pixels}
    net:
      type: predictor
      component: components.py:Net
      inputs: {x: vote}
      timeout: 5
    vote:
      type: combiner
      strategy: mean
      inputs: [forest, net]
    top:
      type: transformer
      method: argmax
      args: {axes: 1}
      inputs: {x: pixels}
    pick:
      type: router
      strategy: weighted
      routes: {forest: -1, nett: 1}
  outputs:
    digit: topp
    best: pick
"""

MISTAKES = [
    (2, 1, "kind", "must be InferenceGraph"),
    (4, 3, "metadata.name", "Digits"),
    (8, 13, "spec.inputs.extra.datatype", "FLOAT"),
    (13, 7, "spec.nodes.scale.input", "did you mean `inputs`"),
    (14, 16, "spec.nodes.scale.inputs.pixels", "did you mean 'pixels'"),
    (17, 7, "spec.nodes.forest.runtime", "did you mean 'sklearn'"),
    (23, 16, "spec.nodes.net.inputs.x", "cycle: net → vote → net"),
    (24, 7, "spec.nodes.net.timeout", "5"),
    (32, 14, "spec.nodes.top.args.axes", "did you mean 'axis'"),
    (37, 16, "spec.nodes.pick.routes.forest", "-1"),
    (37, 28, "spec.nodes.pick.routes.nett", "did you mean 'net'"),
    (39, 5, "spec.outputs.digit", "did you mean 'top'"),
]
MISSING = [
    (12, 7, "spec.nodes.scale.component", "there is no file"),
    (18, 7, "spec.nodes.forest.model", "there is no file"),
    (22, 7, "spec.nodes.net.component", "there is no file"),
]
"""Those that only the folder of the spec shows."""


def test_twelve_mistakes_are_twelve_errors_each_at_its_place() -> None:
    with pytest.raises(SpecError) as caught:
        load_text(SPEC, "digits.yaml")
    found = [
        (p.position.line, p.position.column, ".".join(map(str, p.path)))
        for p in caught.value.problems
        if p.position is not None
    ]
    assert found == [mistake[:3] for mistake in MISTAKES], str(caught.value)
    for problem, (*_, words) in zip(caught.value.problems, MISTAKES, strict=True):
        assert words in problem.message


def test_validate_prints_them_for_people_and_editors(tmp_path: Path) -> None:
    path = tmp_path / "digits.yaml"
    path.write_text(SPEC)
    done = subprocess.run(
        [sys.executable, "-m", "anabranch.cli.main", "validate", str(path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "digits.yaml:" in line]
    found = sorted([*MISTAKES, *MISSING])
    starts = [f"{path}:{line}:{column}: {field}: " for line, column, field, _ in found]
    assert len(lines) == 15
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
