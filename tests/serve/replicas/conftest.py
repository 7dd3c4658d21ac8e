"""A graph in files, as a replica finds it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The working folder, with the module's ``SPEC`` and ``PARTS``."""
    (tmp_path / "graph.yaml").write_text(request.module.SPEC)
    (tmp_path / "parts.py").write_text(request.module.PARTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path
