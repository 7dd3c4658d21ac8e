"""Sends the models of a portable bundle to an engine, before the bundle itself is deployed."""

from __future__ import annotations

from collections.abc import Callable

from anabranch.client import control
from anabranch.client.http import Json, Operation
from anabranch.client.portable.bundle import PortableBundle
from anabranch.components.artefacts.bundled import BundledArtefact
from anabranch.components.artefacts.sources import shown_size
from anabranch.errors import Conflict

PIECE = 8 * 2**20
"""Most bytes that are sent at a time."""


def send_models(bundle: PortableBundle, say: Callable[[str], None]) -> Operation[None]:
    """Send the models that the engine does not have yet; one that has come in part goes on.

    Raise TooLarge, InvalidRequest, StorageError, or Conflict where somebody else sends the same
    model.
    """
    for one in bundle.manifest.artefacts.values():
        found = yield from control.artefact(one.sha256)
        if not found["complete"]:
            yield from _send(bundle, one, found, say)


def _send(
    bundle: PortableBundle, one: BundledArtefact, found: Json, say: Callable[[str], None]
) -> Operation[None]:
    while not found["complete"]:
        have: int = found["have"]
        say(f"sending {one.name}: {shown_size(have)} of {shown_size(one.size)}")
        piece = bundle.part(f"sha256:{one.sha256}", have, PIECE)
        found = yield from control.send_artefact(one.sha256, one.size, have, piece)
        if not found["complete"] and found["have"] <= have:
            raise Conflict(
                f"the engine has {found['have']} of {one.size} bytes of {one.name!r} and takes no "
                "more: somebody else sends it, so try again"
            )
