"""Carries out what was decided about watched models: a new revision, or a return to the stable one.

A new revision is made in one transaction with the note of what it acts on, so a controller that
dies in the middle has made it or has not, and never makes two. A return is made before it is noted,
and making it twice changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from anabranch.access.actor import ACTOR, Actor
from anabranch.components.artefacts.pins import shown_pin
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import TransferInterrupted
from anabranch.components.artefacts.uris import is_mlflow, redacted
from anabranch.control.deployments import AskedRevision, Deployments
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import (
    Change,
    Intent,
    Moment,
    Note,
    Overtaken,
    Situation,
)
from anabranch.control.release.releases import Releases
from anabranch.control.store.store import Store
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.control.watching.decide import BackToStable, Decision, Move, followed
from anabranch.control.watching.models import WatchingRevision
from anabranch.control.watching.verdicts import PREFIX
from anabranch.errors import ArtefactError, Unavailable
from anabranch.specs.excerpts import listing

MOVED = "model_moved"
"""Kind of the event that tells why a watch has made a revision."""
_THEIR_TAGS = (PREFIX, "mlflow.")


@dataclass(eq=False, repr=False)
class Moves:
    """Applies decisions, as an actor ``mlflow`` or ``watch`` of the engine."""

    _store: Store
    _releases: Releases
    _deployments: Deployments
    _writer: TrafficWriter
    _artefacts: ArtefactSettings

    async def apply(self, base: WatchingRevision, decision: Decision) -> int | None:
        """Do what was decided on a graph that goes on from ``base``.

        Return the number of a new revision, None if none was made. Overtaken where the graph has
        changed meanwhile, and other AnabranchErrors where a deploy would be refused.
        """
        with _acting(_author(decision.changes)):
            if isinstance(decision, Move):
                return await self._move(base, decision)
            if isinstance(decision, BackToStable):
                back = partial(_returned, base=base, changes=decision.changes)
                await self._writer.change(base.graph, back)
            await asyncio.to_thread(self._store.see, base.graph, decision.changes)
        return None

    async def _move(self, base: WatchingRevision, move: Move) -> int | None:
        asked = await asyncio.to_thread(self._asked, base, move)
        revision, is_new = await self._deployments.deploy(asked)
        return revision.number if is_new else None

    def _asked(self, base: WatchingRevision, move: Move) -> AskedRevision:
        revision = self._store.revision(base.graph, base.number)
        received = self._releases.again(revision, move.pins)
        message = "; ".join(self._described(one, pin) for one, pin in move.changes.items())
        data = {
            redacted(one): {"before": base.pins.get(one), "after": pin}
            for one, pin in move.changes.items()
        }
        return AskedRevision(
            base.graph,
            received,
            Intent.of(received.rollout),
            _author(move.changes),
            message,
            seen=move.changes,
            cause=Note(None, MOVED, message, {"models": data}),
            check=lambda before, after: _check(before, base),
        )

    def _described(self, reference: str, pin: str) -> str:
        """Return what a reference means now, with the notes on it that the registry has."""
        # Here, for it takes an HTTP client that most engines never need.
        from anabranch.components.artefacts.mlflow.versions import described

        text = f"{redacted(reference)} is {shown_pin(pin)}"
        try:
            version = described(pin, self._artefacts) if is_mlflow(reference) else None
        except ArtefactError:  # it may have gone again, which the revision will tell
            version = None
        except TransferInterrupted as error:
            raise Unavailable(str(error)) from None
        if version is None:
            return text
        tags = {k: v for k, v in version.tags.items() if not k.startswith(_THEIR_TAGS)}
        notes = f": {version.description}" if version.description else ""
        noted = listing([f"{key}={value}" for key, value in sorted(tags.items())])
        return f"{text}{notes}" + (f" ({noted})" if tags else "")


def _author(changes: Mapping[str, str]) -> str:
    return "mlflow" if any(map(is_mlflow, changes)) else "watch"


@contextmanager
def _acting(name: str) -> Iterator[None]:
    token = ACTOR.set(Actor("engine", name))
    try:
        yield
    finally:
        ACTOR.reset(token)


def _check(now: Situation, base: WatchingRevision) -> None:
    """Raise Overtaken where a graph does not go on from a revision any more."""
    is_gone = now.state != "present"
    if is_gone or (followed(now) != base.number and followed(now) is not None):
        raise Overtaken(f"graph {base.graph!r} does not go on from revision {base.number} any more")


def _returned(
    now: Situation, moment: Moment, base: WatchingRevision, changes: Mapping[str, str]
) -> Change:
    """Give up what was to replace the stable revision, which has what references mean again."""
    _check(now, base)
    assert now.stable is not None
    if now.stable == base.number:
        return Change(now)
    change = operations.rolled_back(now, moment, now.stable)
    means = listing([f"{redacted(one)} is {shown_pin(pin)}" for one, pin in changes.items()])
    note = Note(now.stable, MOVED, f"{means} again, as revision {now.stable} has it")
    return Change(change.situation, (note, *change.notes))
