"""The glossary names each term once, in order, and the place that it names defines something."""

from __future__ import annotations

import re
import warnings
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = ROW.findall((DOCS / "glossary.md").read_text())[1:]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def found(place: str) -> Any:
    """Import ``package.module`` or ``package.module:Class.attribute``."""
    module, _, name = place.partition(":")
    with warnings.catch_warnings(action="ignore"):  # of the libraries that the module imports
        imported = import_module(module)
    return reduce(getattr, filter(None, name.split(".")), imported)


def test_terms_are_unique_and_sorted() -> None:
    terms = [term.casefold() for term, _, _ in ROWS]
    assert len(terms) > 80
    assert terms == sorted(set(terms))


def test_each_meaning_is_one_sentence() -> None:
    for term, meaning, _ in ROWS:
        assert meaning.endswith("."), term


@pytest.mark.parametrize(("term", "place"), [(term, place) for term, _, place in ROWS])
def test_the_place_of_a_term_exists(term: str, place: str) -> None:
    if place.startswith("`"):
        assert found(place.strip("`")) is not None
        return
    link = re.fullmatch(r"\[([\w-]+\.md)\]\(\1(?:#([\w-]+))?\)", place)
    assert link, place
    page, anchor = DOCS / link[1], link[2]
    assert page.exists()
    assert anchor is None or anchor in anchors(page), f"{term}: {place}"
