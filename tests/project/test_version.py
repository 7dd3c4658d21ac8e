from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import anabranch

ROOT = Path(__file__).parents[2]
MAX_FIRST_ENTRY_LINES = 40


def changelog() -> dict[str, str]:
    """Return the text of each section of the changelog by its heading, newest first."""
    _, *parts = re.split(r"^## (.+)\n", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_version_is_the_newest_version_of_the_changelog() -> None:
    headings = list(changelog())
    assert headings[:2] == ["Unreleased", importlib.metadata.version("anabranch")]


def test_entry_of_the_first_version_is_short() -> None:
    assert len(changelog()["0.1.0"].strip().splitlines()) <= MAX_FIRST_ENTRY_LINES


def test_the_public_surface_is_what_all_says() -> None:
    assert list(anabranch.__all__) == sorted(set(anabranch.__all__))
    for name in anabranch.__all__:
        assert getattr(anabranch, name) is not None
