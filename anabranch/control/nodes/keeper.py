"""Keeps on each machine of a cluster what it needs there, as ``ingress`` decides."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Container, Sequence
from functools import partial

from anabranch.control.nodes import ingress
from anabranch.control.nodes.cluster import RayCluster
from anabranch.control.nodes.faces import FaceRunner
from anabranch.control.nodes.node import Node
from anabranch.control.settings.ingress import Ingress
from anabranch.errors import Unavailable

PERIOD_S = 1.0
"""Time between two looks at the machines that are there, in seconds."""
_LAST_S = 6.0
"""Time before a machine's end at which its edge is stopped, with what is under way, in seconds."""

logger = logging.getLogger("anabranch.control")


class MachineKeeper:
    """Looks which machines are there, and starts and stops what belongs to each.

    ``see`` hears of the machines at each look. ``busy`` returns ids of the machines that replicas
    of graphs are on, None as long as they are not known: no others are kept from Ray's autoscaler.
    """

    def __init__(
        self,
        cluster: RayCluster,
        runner: FaceRunner,
        rule: Ingress,
        see: Callable[[Sequence[Node]], None] = lambda nodes: None,
        busy: Callable[[], Container[str] | None] = lambda: None,
    ) -> None:
        self.present: tuple[Node, ...] = ()
        """The machines that were there at the last look, and are the engine's to use."""
        self._cluster = cluster
        self._runner = runner
        self._rule = rule
        self._see = see
        self._busy = busy

    async def run(self) -> None:
        """Look each second, for ever."""
        while True:
            await asyncio.to_thread(self.round)
            await asyncio.sleep(PERIOD_S)

    def round(self) -> None:
        """Look once, and do what is to be done; what fails is tried again at the next look."""
        try:
            look = self._cluster.look()
        except Unavailable as error:
            logger.info("the machines are not known now: %s", error)
            return
        there = [one for one in look.nodes if one.is_here]
        self.present = tuple(self._kept(there) if look.is_autoscaled else there)
        _try("cannot count what is on machines", partial(self._see, self.present))
        names = ingress.wanted(self.present, self._rule)
        found = ingress.steps(names, self._runner.running(), there)
        for name, node in found.close:
            _try(f"cannot close {name}", partial(self._close, name, node))
        for name in found.stop:
            _try(f"cannot stop {name}", partial(self._runner.stop, name))
        for kind, node in found.start:
            what = f"cannot start {kind} on machine {node.name}"
            _try(what, partial(self._runner.start, kind, node))

    def _kept(self, there: Sequence[Node]) -> Sequence[Node]:
        """Return the machines that Ray's autoscaler is not to take back."""
        busy = self._busy()
        return there if busy is None else [one for one in there if one.is_head or one.id in busy]

    def _close(self, name: str, node: Node) -> None:
        """Have an edge closed, and stop it once it is, or the end of its machine is near."""
        has_time = node.deadline is None or node.deadline - time.time() > _LAST_S
        if self._runner.has_closed(name) or not has_time:
            self._runner.stop(name)


def _try(what: str, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        logger.exception(what)
