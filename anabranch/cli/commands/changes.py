"""Differences between a file and the stable revision."""

from __future__ import annotations

from pathlib import Path

from anabranch.cli.commands.deploy import bundle_of
from anabranch.client.client import ControlClient
from anabranch.client.http import Json
from anabranch.client.portable.bundle import is_bundle, open_bundle
from anabranch.control.release.differences import spec_changes, spec_of
from anabranch.errors import EngineError, NotFound
from anabranch.graph.compile.loading import Loaded


def changes_against_live(loaded: Loaded, file: Path, home: Path) -> list[str] | None:
    """Return one line per change, none without a change; None without a running engine.

    ``file`` has the graph that was ``loaded``: a spec, or a portable bundle.
    """
    try:
        with ControlClient.of_home(home) as client:
            live = _live(client, loaded.graph.name)
    except EngineError:
        return None
    if live is None:
        return [f"{loaded.graph.name} is new"]
    digest = open_bundle(file).code.digest if is_bundle(file) else bundle_of(file, home).digest
    return list(spec_changes(spec_of(live), loaded.graph.to_dict())) + _file_changes(live, digest)


def _live(client: ControlClient, name: str) -> Json | None:
    try:
        number = client.graph(name).get("live")
        return None if number is None else client.revision(name, number)
    except NotFound:
        return None


def _file_changes(live: Json, digest: str) -> list[str]:
    return [] if live["digest"] == digest else ["~ files of the bundle"]
