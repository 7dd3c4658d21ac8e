"""Edges of other machines hear of the certificates that are in force on the head's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from anabranch.control.nodes import certificates
from anabranch.control.nodes.certificates import certificates_of
from anabranch.control.settings.settings import Settings
from anabranch.control.settings.tls import in_force
from anabranch.errors import Unavailable
from anabranch.serve.edge.tls.certificates import load
from tests.certificates import Authority


def test_a_poll_waits_for_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LOOK_S", 0.01)
    authority = Authority(tmp_path)
    files = authority.issue("one")
    settings = replace(Settings.from_env({"ANABRANCH_HOME": str(tmp_path)}), tls=files)

    async def main() -> None:
        with pytest.raises(Unavailable, match="no certificates are in force"):
            await certificates_of(settings, 0)
        in_force(tmp_path, files).install(load(files))
        first = await certificates_of(settings, 0)
        assert first.certificates == load(files)
        assert await certificates_of(settings, first.version, patience=0) == first
        waiting = asyncio.create_task(certificates_of(settings, first.version))
        authority.issue("two")
        in_force(tmp_path, files).install(load(files))
        assert (await waiting).certificates == load(files)

    asyncio.run(main())
