"""Libraries that programs need, as the machine's loader finds them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from anabranch.client.image.libraries import is_program, needed
from anabranch.errors import EngineError


def test_the_libraries_of_python_are_found(tmp_path: Path) -> None:
    python = Path(sys.executable).resolve()
    assert is_program(python)
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert not is_program(tmp_path / "script")
    found = needed([python, tmp_path / "script"])
    assert any(name.startswith("libc.so") for name in found)
    assert all(path.is_absolute() and path.exists() for path in found.values())


def test_without_a_loader_to_ask_another_base_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineError, match="name another base by --base"):
        needed([])
