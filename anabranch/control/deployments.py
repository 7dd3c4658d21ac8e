"""Makes revisions of bundles that were received, for whoever asks: the control API and watches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from anabranch.access.actor import ACTOR
from anabranch.control.access.quotas import Quotas
from anabranch.control.lifecycle.operations import Intent, Note, Situation
from anabranch.control.models.checks import ModelChecks
from anabranch.control.release.own_ports import OwnPorts
from anabranch.control.release.releases import Received, Releases
from anabranch.control.store.store import Check, Revision, Store
from anabranch.control.traffic.writer import TrafficWriter

_MAX_NOTE = 1000
"""Longest author or message, in characters."""


@dataclass(frozen=True)
class AskedRevision:
    """A revision that is asked for, of a bundle that was received."""

    graph: str
    received: Received
    intent: Intent
    author: str = ""
    message: str = ""
    force: bool = False
    """Whether to make one also if one of the same content runs."""
    seen: Mapping[str, str] | None = None
    """Pins that were acted on; all of the bundle's if left out."""
    cause: Note | None = None
    """An event for the reason of a new revision."""
    check: Check | None = None
    """What must hold besides quotas."""


@dataclass(eq=False, repr=False)
class Deployments:
    """Puts revisions into the store within quotas and own ports, and their tables in force."""

    _store: Store
    _releases: Releases
    _ports: OwnPorts
    _quotas: Quotas
    _checks: ModelChecks
    _writer: TrafficWriter

    async def deploy(self, asked: AskedRevision) -> tuple[Revision, bool]:
        """Return the revision, and whether it is new: a new one is on its way.

        Raises what ``Store.ensure_revision`` does, InvalidRequest for a rollout that the settings
        do not allow, Conflict for a port or a quota that is taken, and what
        ``ModelChecks.check`` raises.
        """
        revision, is_new = await asyncio.to_thread(self._recorded, asked)
        if is_new:
            await self._writer.publish(asked.graph)
        return revision, is_new

    def _recorded(self, asked: AskedRevision) -> tuple[Revision, bool]:
        received, intent = asked.received, asked.intent
        if intent.kind == "rollout":
            intent = replace(intent, author=str(ACTOR.get()))
        self._releases.check(intent.rollout, bool(received.plan.monitors))
        claimed = self._ports.claimed(asked.graph, received.plan.port)
        with self._quotas.held(claimed), self._checks.held:
            return self._store.ensure_revision(
                asked.graph, received.spec, received.digest, asked.author[:_MAX_NOTE],
                asked.message[:_MAX_NOTE], intent, received.pins, asked.force,
                partial(self._check, asked), asked.seen, asked.cause,
            )  # fmt: skip

    def _check(self, asked: AskedRevision, before: Situation, after: Situation) -> None:
        if asked.check is not None:
            asked.check(before, after)
        self._quotas.check(before, after, asked.received.plan)
        self._checks.check(before, after, asked.received)
