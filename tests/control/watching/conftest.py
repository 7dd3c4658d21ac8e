"""A registry of models, and a control API that watches it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.watching.registry import Registry, WatchingControl, a_registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    with a_registry() as one:
        yield one


@pytest.fixture
def control(tmp_path: Path, registry: Registry) -> WatchingControl:
    return WatchingControl(tmp_path, registry)
