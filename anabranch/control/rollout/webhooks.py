"""Delivers what the outbox holds: tells webhooks of the transitions of rollouts.

Each hook gets one call at a time, in the order of the events, and waits for no other hook. A call
that fails is tried again, later each time, before the next is made; after the last attempt it is
given up, which is an event in the log. A call may come twice after a crash, and is known by its
event's ``id``. Bodies are JSON of a form of their own, or CloudEvents where the settings say so.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any

from anabranch.control.observe.cloud_event import MEDIA_TYPE, cloud_event
from anabranch.control.rollout.outgoing import Caller
from anabranch.control.settings.destinations import allowed, shown
from anabranch.control.settings.settings import Settings, WebhookForm
from anabranch.control.store.outbox import Delivery
from anabranch.control.store.store import Event, Store
from anabranch.control.tasks import WokenLoop
from anabranch.control.timestamps import timestamp
from anabranch.telemetry.definitions import WEBHOOK_CALLS
from anabranch.telemetry.registry import REGISTRY, Registry

logger = logging.getLogger("anabranch.control")

ATTEMPTS = 5
FIRST_PAUSE = 1.0
"""Seconds before the second attempt; each further one waits twice as long."""
MAX_HOOKS = 64
"""Hooks that are called at the same time."""
_LOOK, _REST = 0.25, 10.0
"""Seconds between two looks into the outbox, with and without calls in it."""
_RETRY = 2.0
_MAX_BODY = 4096


class Deliveries(WokenLoop[str]):
    """Calls webhooks until it is cancelled."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        caller: Caller | None = None,
        clock: Callable[[], float] = time.time,
        registry: Registry = REGISTRY,
    ) -> None:
        super().__init__()
        self._store = store
        self._prefixes = settings.webhooks
        self._form, self._type = _FORMS[settings.webhook_form]
        self._caller = caller or Caller()
        self._clock = clock
        self._chance = random.Random()
        self._registry = registry

    async def _close(self) -> None:
        await self._caller.close()

    async def _round(self) -> float:
        """Start what is due, of each hook that is not being called the first.

        Returns how long to wait until the next look, in seconds.
        """
        try:
            due, is_empty = await asyncio.to_thread(self._read, tuple(self._tasks))
        except Exception:
            logger.exception("cannot read the outbox; trying again in %gs", _RETRY)
            return _RETRY
        for delivery in due:
            if delivery.url not in self._tasks and len(self._tasks) < MAX_HOOKS:
                self._start(delivery.url, self._try(delivery))
        return _REST if is_empty else _LOOK

    def _read(self, calling: Collection[str]) -> tuple[list[Delivery], bool]:
        """Return the calls that are due, and whether there are none at all."""
        outbox = self._store.outbox
        if outbox.is_empty():
            return [], True
        return outbox.due(self._clock(), MAX_HOOKS, calling), False

    async def _try(self, delivery: Delivery) -> None:
        try:
            await self._deliver(delivery)
        except Exception:
            logger.exception("cannot note what became of a webhook; trying again in %gs", _RETRY)
            await asyncio.sleep(_RETRY)

    async def _deliver(self, delivery: Delivery) -> None:
        outbox = self._store.outbox
        if not allowed(delivery.url, self._prefixes):
            await self._give_up(delivery, "it is not below what ANABRANCH_WEBHOOKS allows")
            return
        body, headers = json.dumps(self._form(delivery.event)), {"content-type": self._type}
        reply = await self._caller.call(
            "POST", delivery.url, _MAX_BODY, content=body, headers=headers
        )
        if reply.ok:
            self._count(delivery, "delivered")
            await asyncio.to_thread(outbox.strike, delivery.id)
        elif delivery.attempts + 1 >= ATTEMPTS:
            await self._give_up(delivery, f"{ATTEMPTS} attempts failed; the last: {reply}")
        else:
            self._count(delivery, "failed")
            due_at = self._clock() + pause(delivery.attempts, self._chance)
            await asyncio.to_thread(outbox.postponed, delivery.id, due_at)

    async def _give_up(self, delivery: Delivery, reason: str) -> None:
        """Log first: after a crash in between there are two events rather than none."""
        self._count(delivery, "given_up")
        await asyncio.to_thread(
            self._store.log,
            delivery.event.graph,
            delivery.event.revision,
            "webhook_failed",
            f"{shown(delivery.url)}: {reason}",
            {"event": delivery.event.id},
        )
        await asyncio.to_thread(self._store.outbox.strike, delivery.id)

    def _count(self, delivery: Delivery, outcome: str) -> None:
        self._registry.number(WEBHOOK_CALLS, delivery.event.graph, outcome).value += 1


def _plain(event: Event) -> dict[str, Any]:
    return {
        "graph": event.graph,
        "revision": event.revision,
        "event": event.kind,
        "message": event.message,
        "data": event.data,
        "id": event.id,
        "at": timestamp(event.at),
    }


_FORMS: Mapping[WebhookForm, tuple[Callable[[Event], dict[str, Any]], str]] = {
    "json": (_plain, "application/json"),
    "cloudevents": (lambda event: cloud_event(asdict(event)), MEDIA_TYPE),
}
"""Body of a call, and its media type."""


def pause(failed: int, chance: random.Random) -> float:
    """Seconds to wait after so many failures before this one: doubling, less up to a half."""
    return FIRST_PAUSE * 2.0**failed * chance.uniform(0.5, 1.0)
