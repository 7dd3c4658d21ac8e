"""What is explained in the benchmark."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.graph.compile.loading import load_data

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("alibi.explainers")
    pytest.importorskip("captum.attr")
    pytest.importorskip("sklearn.datasets")
    from benchmarks.explained_cases import CASES, name_of, spec
    from benchmarks.explaining import Measured, Timed


def test_every_method_is_measured():
    assert sorted(case.method for case in CASES) == list(registry.names("explainer"))


def test_their_graph_compiles(tmp_path):
    head = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph", "metadata": {"name": "g"}}
    plan = load_data({**head, "spec": spec(CASES)}, tmp_path).plan
    assert {name_of(case) for case in CASES} <= set(plan.nodes)


def test_rates_and_ratios():
    library = Timed([0.1, 0.2, 0.1])
    one = Measured("saliency", Timed([0.1, 0.4, 0.15]), Timed(), library)
    assert one.ratio(one.explainer) == pytest.approx(1.5)
    np.testing.assert_allclose(library.rate, 3 / 0.4)
