"""Custom resources and machines in the language: what it takes, and the words where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.specs.messages import mistakes
from anabranch.specs.models import GraphPlacement, Placement, Resources


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (Resources, {"custom": {"licence": 0.0001, "fpga_2.x": 3, "TPU": 4}}),
        (GraphPlacement, {"labels": {"zone": "a", "example.com/rack-1": "!in(a, b,c)"}}),
        (GraphPlacement, {"labels": {"ray.io/accelerator-type": "in(H100, A100)"}}),
        (Placement, {"node_affinity": "fd00::2"}),
        (Placement, {"node_affinity": "f" * 56, "isolate": True}),
        (Placement, {"spread": "node", "with": "other"}),
    ],
)
def test_what_is_taken(model: Any, data: Any) -> None:
    assert mistakes(model, data) == []


@pytest.mark.parametrize(
    ("model", "data", "path", "message"),
    [
        (Resources, {"custom": {}}, ("custom",), "must "),
        (Resources, {"custom": {"GPU": 1}}, ("custom", "GPU"),
         "GPU is no custom resource; ask for it in `gpu`"),
        (Resources, {"custom": {"object_store_memory": 1}}, ("custom", "object_store_memory"),
         "object_store_memory is no custom resource; no node may ask for it"),
        (Resources, {"custom": {"node:10.0.0.2": 1}}, ("custom", "node:10.0.0.2"),
         "a resource's name: at most 63 letters"),
        (Resources, {"custom": {"licence": 0}}, ("custom", "licence"), "must be at least 0.0001"),
        (Resources, {"custom": {"licence": "1"}}, ("custom", "licence"), "must be a number"),
        (GraphPlacement, {"labels": {"zone": ["a"]}}, ("labels", "zone"), "must be text"),
        (GraphPlacement, {"labels": {"zone": "in(a"}}, ("labels", "zone"), "or `!value`, `in(a,"),
        (GraphPlacement, {"labels": {"zone": ""}}, ("labels", "zone"), "a label's value"),
        (GraphPlacement, {"labels": {"a/b/c": "x"}}, ("labels", "a/b/c"), "a label's key"),
        (GraphPlacement, {"spread": "node"}, ("spread",), "unknown field"),
        (Placement, {"spread": "zone"}, ("spread",), "must be node"),
        (Placement, {"node_affinity": "a b"}, ("node_affinity",), "a machine's name, its address"),
        (Placement, {"label": {"zone": "a"}}, ("label",), "did you mean `labels`"),
    ],
)  # fmt: skip
def test_what_is_refused(model: Any, data: Any, path: tuple[str, ...], message: str) -> None:
    ((found, said),) = mistakes(model, data)
    assert found == path
    assert message in said


def test_custom_resources_stand_beside_the_others() -> None:
    asked = Resources(cpu=2, custom={"licence": 0.5})
    assert asked.amounts() == {"cpu": 2, "licence": 0.5}
    assert Resources().amounts() == {}
