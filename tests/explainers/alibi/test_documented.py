"""docs/explainers.md names every method of Alibi and every argument of each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anabranch.components import registry
from anabranch.components.arguments import constructor_parameters
from anabranch.components.builtins import MODULES

DOCUMENT = (Path(__file__).parents[3] / "docs" / "explainers.md").read_text()
KINDS = [
    kind
    for kind in (registry.get("explainer", name) for name in registry.names("explainer"))
    if kind.cls.__module__.startswith("anabranch.explainers.alibi.")
]


def test_each_module_brings_a_method():
    modules = {module for module in MODULES if ".explainers.alibi." in module}
    assert {kind.cls.__module__ for kind in KINDS} == modules


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_argument_is_told_of(kind):
    assert f"\n| `{kind.name}` |" in DOCUMENT
    named = set(re.findall(r"`(\w+)(?:: [\w,]+)?`", DOCUMENT))
    arguments = set(constructor_parameters(kind.cls)) - {"node", "root"}
    assert arguments <= named
