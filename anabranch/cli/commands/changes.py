"""Differences between a file and the stable revision."""

from __future__ import annotations

from pathlib import Path

from anabranch.client.bundle.packing import max_bytes, pack
from anabranch.client.client import ControlClient
from anabranch.client.http import Json
from anabranch.client.portable.bundle import PortableBundle
from anabranch.control.release.differences import spec_changes, spec_of
from anabranch.errors import EngineError, NotFound
from anabranch.graph.compile.loading import Loaded


def changes_against_live(
    loaded: Loaded, file: str, bundle: PortableBundle | None, home: Path
) -> list[str] | None:
    """Return one line per change, none without a change; None without a running engine.

    The graph was ``loaded`` from a ``bundle``, or else from the spec in ``file``.
    """
    try:
        with ControlClient.of_home(home) as client:
            live = _live(client, loaded.graph.name)
    except EngineError:
        return None
    if live is None:
        return [f"{loaded.graph.name} is new"]
    code = pack(Path(file), max_bytes(), home) if bundle is None else bundle.code
    changes = list(spec_changes(spec_of(live), loaded.graph.to_dict()))
    return changes if live["digest"] == code.digest else [*changes, "~ files of the bundle"]


def _live(client: ControlClient, name: str) -> Json | None:
    try:
        number = client.graph(name).get("live")
        return None if number is None else client.revision(name, number)
    except NotFound:
        return None
