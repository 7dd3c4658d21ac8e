"""Markdown of tables, docstrings and signatures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anabranch.reference.markdown import call, code, prose, section, table

DOCSTRING = """Do ``this``.

    Like so::

        call(this)

    Args:
        one: The first ``thing``,
            which goes on.
        two: The second.

    Raises:
        ValueError: it is neither.
    """


def test_a_docstring_is_prose_without_its_sections() -> None:
    assert prose(DOCSTRING) == "Do `this`.\n\nLike so:\n\n```text\ncall(this)\n```"


def test_a_section_has_its_entries() -> None:
    assert section(DOCSTRING, "Args") == {
        "one": "The first `thing`, which goes on.",
        "two": "The second.",
    }
    assert section(DOCSTRING, "Raises") == {"ValueError": "it is neither."}
    assert section(DOCSTRING, "Returns") == {} == section(None, "Args")


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=4))
def test_a_table_has_a_line_for_each_row_whatever_the_cells_hold(rows: list[list[str]]) -> None:
    lines = table(("a", "b"), rows).split("\n")
    assert len(lines) == 2 + len(rows)
    for line in lines:
        assert line.replace("\\|", "").count("|") == 3


def test_code_may_hold_backticks() -> None:
    assert (code("a"), code("a`b"), code("")) == ("`a`", "``a`b``", "")


class Example:
    def short(self, a: int, *more: str, b: bool = True, **rest: float) -> None: ...

    async def long(
        self, first_parameter: dict[str, int], *, second_parameter: str | None = None, third=1
    ) -> dict[str, list[int]]: ...


def test_a_signature_is_that_of_a_call() -> None:
    assert call(Example.short, "short") == (
        "short(a: int, *more: str, b: bool = True, **rest: float) -> None"
    )


def test_a_long_signature_has_a_line_for_each_parameter() -> None:
    assert call(Example.long, "long") == (
        "async long(\n    first_parameter: dict[str, int],\n    *,\n"
        "    second_parameter: str | None = None,\n    third=1,\n) -> dict[str, list[int]]"
    )
