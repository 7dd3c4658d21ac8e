from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import anabranch

ROOT = Path(__file__).parents[2]


def test_version_is_the_newest_entry_of_the_changelog() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == importlib.metadata.version("anabranch")


def test_the_public_surface_is_what_all_says() -> None:
    assert list(anabranch.__all__) == sorted(set(anabranch.__all__))
    for name in anabranch.__all__:
        assert getattr(anabranch, name) is not None
