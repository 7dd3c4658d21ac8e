"""Every built-in is described: each argument, and an example that compiles or runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.components.registry import MONITOR, get, names
from anabranch.reference.builtins import PAGES, arguments, examples, load, meanings, run, sections
from anabranch.reference.markdown import section
from anabranch.specs.models import BUILTIN_FIELD, NODE_TYPES

DOCS = Path(__file__).parents[2] / "docs"
ALL = [(kind, name) for kind in PAGES for name in names(kind)]


def test_there_is_a_page_for_each_kind() -> None:
    assert set(PAGES) == {*NODE_TYPES, MONITOR}


@pytest.mark.parametrize("kind", PAGES)
def test_every_built_in_has_an_example_and_no_example_is_of_none(kind: str) -> None:
    assert sorted(examples(kind, DOCS)) == sorted(names(kind))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_argument_is_told_and_no_other(kind: str, name: str) -> None:
    found = get(kind, name)
    assert set(arguments(found)) <= set(meanings(found))
    assert set(section(found.cls.__doc__, "Args")) <= set(arguments(found))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_example_uses_the_built_in(kind: str, name: str) -> None:
    graph = load(examples(kind, DOCS)[name], DOCS).graph
    if kind == MONITOR:
        used = {monitor.method for monitor in (graph.spec.monitors or {}).values()}
    else:
        used = {
            getattr(node, BUILTIN_FIELD[kind])
            for node in graph.spec.nodes.values()
            if node.type == kind
        }
    assert name in used


@pytest.mark.parametrize("kind", ["transformer", "combiner", "router"])
def test_what_needs_no_library_runs(kind: str) -> None:
    for name, example in examples(kind, DOCS).items():
        answer = run(load(example, DOCS), example["request"])
        assert set(answer) == set(example["spec"]["outputs"]), name


def test_the_page_tells_the_answer() -> None:
    page = sections("transformer", DOCS)
    assert '`{"score": [0.49, 0.5]}` gives `{"accepted": [false, true]}`.' in page
    assert "Tensors: `score` FP64[-1] → `output` BOOL[-1]." in page
    assert "| `at` | a number | required | Smallest value that gives true. |" in page
