"""All that ``anabranch`` exports is described, with the signatures of calls."""

from __future__ import annotations

import inspect

import pytest

import anabranch
from anabranch.errors import AnabranchError
from anabranch.reference.python import exported, public, sections

PAGE = sections()


def test_every_exported_name_has_a_section_or_is_an_error() -> None:
    for name in anabranch.__all__:
        found = getattr(anabranch, name)
        is_error = inspect.isclass(found) and issubclass(found, AnabranchError)
        assert (f"## anabranch.{name}\n" in PAGE) is not is_error, name


@pytest.mark.parametrize(("name", "found"), exported())
def test_every_public_method_has_a_section_with_a_docstring(name: str, found: type) -> None:
    for method, one in public(found):
        assert f"### {name}.{method}\n" in PAGE
        assert inspect.getdoc(one), f"{name}.{method}"


def test_a_method_of_graph_is_told_in_full() -> None:
    start = PAGE.index("### Graph.run\n")
    section = PAGE[start : PAGE.index("###", start + 3)]
    assert "inputs: Any" in section
    assert ") -> dict[str, Array]" in section and "self" not in section
    assert "Evaluate the graph in this process, without Ray." in section


def test_methods_that_are_made_of_operations_are_told_as_they_are_called() -> None:
    assert "```text\nabort(graph: str) -> Json\n```" in PAGE
    assert "```text\nasync abort(graph: str) -> Json\n```" in PAGE
    assert ") -> AsyncIterator[InferenceReply]\n" in PAGE
    assert "Operation" not in PAGE and "EngineSession" not in PAGE


def test_a_property_has_a_type_and_no_parameters() -> None:
    assert "```text\nplan: Plan\n```" in PAGE
