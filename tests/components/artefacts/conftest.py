from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.components.artefacts import fetching
from anabranch.components.artefacts.settings import ArtefactSettings
from tests.components.artefacts.files import Served, serving


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@pytest.fixture
def settings(tmp_path: Path) -> ArtefactSettings:
    return ArtefactSettings(cache=tmp_path / "cache", timeout=20)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(fetching, "_PAUSES_S", (0.0, 0.0, 0.0))
