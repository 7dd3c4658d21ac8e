"""The generated parts of docs/ are what the code says now."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from anabranch.reference.pages import BEGIN, END, PAGES, write, written

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_fresh(name: str) -> None:
    page = (DOCS / name).read_text()
    assert written(page, PAGES[name](DOCS)) == page, f"docs/{name}: run `make reference`"


def test_what_is_written_by_hand_stays(tmp_path: Path) -> None:
    docs = shutil.copytree(DOCS, tmp_path / "docs")
    page = docs / "metrics.md"
    page.write_text(f"before\n{BEGIN}\nstale rows\n{END}\nafter\n")
    write(docs)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "stale rows" not in text and PAGES["metrics.md"](docs) in text


@pytest.mark.parametrize("page", ["", f"{BEGIN} without an end", f"{END} without a beginning"])
def test_a_page_without_both_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="has not both marks"):
        written(page, "rows")
