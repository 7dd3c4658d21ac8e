"""A share of the live traffic is explained, off the request path.

What comes of it is for metrics and the explainer's log. Samples are bounded as the copies to
mirrors are, by bounds of their own; those beyond are dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from anabranch.components.weights import Draw
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.explaining import Explainers
from anabranch.router.traffic.request_copies import Copies, Copy
from anabranch.telemetry import definitions
from anabranch.telemetry.registry import REGISTRY, Registry

Outcome: TypeAlias = Literal["explained", "failed", "dropped"]
Notice: TypeAlias = Callable[[str, str, Outcome], None]
"""Takes a revision, an explainer, and what became of a sample."""


def unnoticed(revision: str, explainer: str, outcome: Outcome) -> None:
    """Count nothing."""


class Samples:
    """The samples of one router."""

    def __init__(self, limits: RequestLimits, notice: Notice = unnoticed) -> None:
        self._copies = Copies(limits.max_samples, limits.max_sample_bytes)
        self.kept = self._copies.kept
        self._notice = notice

    def drawn(self, explainers: Explainers, draw: Draw) -> tuple[str, ...]:
        """The explainers that are to explain a request, by their shares."""
        return tuple(name for name, share in explainers.shares.items() if draw() < share)

    def send(self, explainers: Explainers, names: Iterable[str], copy: Copy | None) -> None:
        """Have a request explained; ``copy`` is None if there was no room for one."""
        for name in names:
            if copy is None or not self._copies.has_room(copy.size):
                self._notice(explainers.version, name, "dropped")
                continue
            task = self._copies.launch(explainers.sampled(name, copy.request), copy.size)
            task.add_done_callback(self._done(explainers.version, name))

    def _done(self, version: str, name: str) -> Callable[[asyncio.Task[bool]], None]:
        def done(task: asyncio.Task[bool]) -> None:
            is_good = not task.cancelled() and task.result()
            self._notice(version, name, "explained" if is_good else "failed")

        return done

    async def close(self) -> None:
        """Cancel all samples."""
        await self._copies.close()


def counted_samples(graph: str, registry: Registry = REGISTRY) -> Notice:
    """Return the function that counts a router's samples for explainers, by their outcome."""

    def notice(revision: str, explainer: str, outcome: Outcome) -> None:
        labels = graph, revision, explainer, outcome
        registry.number(definitions.EXPLAINER_SAMPLES, *labels).value += 1

    return notice
