"""Certificates of engines for their nodes, as processes have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.control.access.authority import certificates_environment, make_certificates


class EngineCertificates:
    """The certificates of engines, of which this process has those that were used last."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch = folder, monkeypatch

    def use(self, name: str = "own") -> None:
        """Have the certificates of an engine, which are made where they are not there yet."""
        home = self._folder / name
        if not home.exists():
            home.mkdir()
            make_certificates(home)
        for variable, value in certificates_environment(home).items():
            self._monkeypatch.setenv(variable, value)
