"""Asks each machine of an engine for what only its own files tell.

A machine that does not answer costs seconds, once: until it answers again nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from anabranch.control.nodes.files import MachineFiles, Question
from anabranch.control.nodes.ingress import AGENT, named
from anabranch.control.nodes.node import Node
from anabranch.control.observe.ended import EndedProcess
from anabranch.serve.calls.controller import NamedActor

PATIENCE_S = 3.0
"""Longest time that a machine may take for an answer, in seconds."""
AGAIN_S = 10.0
"""Time for which a machine that did not answer is not asked."""

logger = logging.getLogger("anabranch.control")


def by_name(nodes: Iterable[Node]) -> Mapping[str, Node]:
    """Return machines by name, or by address where several have one name."""
    nodes = tuple(nodes)
    names = Counter(one.name for one in nodes)
    return {one.name if names[one.name] == 1 else one.address: one for one in nodes}


Present: TypeAlias = Callable[[], Sequence[Node]]
"""Returns the machines that are there; none where the engine has this one alone."""


class Everywhere:
    """Asks this machine, which is the head's, by ``own``, and all others by their agents."""

    def __init__(
        self,
        own: MachineFiles,
        present: Present,
        agent: Callable[[str], NamedActor] = NamedActor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = own
        self._present = present
        self._agent = agent
        self._clock = clock
        self._agents: dict[str, NamedActor] = {}
        self._silent: dict[str, float] = {}
        """Until when machines are not asked, by their ids."""

    @property
    def machines(self) -> Mapping[str, Node]:
        """The machines that are there, see ``by_name``; empty where this is the only one."""
        return by_name(self._present())

    async def ask(self, machine: Node | None, question: Question, *arguments: Any) -> Any:
        """Ask one machine, None for this one; None where it does not answer.

        Raises what the question raises on this machine.
        """
        if machine is None or machine.is_head:
            return await asyncio.to_thread(self._own.answer, question, *arguments)
        if self._clock() < self._silent.get(machine.id, 0.0):
            return None
        agent = self._agents.setdefault(machine.id, self._agent(named(AGENT, machine)))
        try:
            found = await agent.call("ask", question, *arguments, timeout=PATIENCE_S)
        except Exception as error:
            logger.warning("machine %s does not tell its %s: %s", machine.name, question, error)
            self._silent[machine.id] = self._clock() + AGAIN_S
            return None
        self._silent.pop(machine.id, None)
        return found

    async def ended(
        self, heard: Mapping[str, Collection[str]]
    ) -> Mapping[str, Sequence[EndedProcess]]:
        """Return the processes that were ended, by the names of machines, and say which were heard.

        The name is empty where there is one machine alone.
        """
        machines = self.machines
        present: Mapping[str, Node | None] = machines or {"": None}
        for gone in self._agents.keys() - {one.id for one in machines.values()}:
            del self._agents[gone]
            self._silent.pop(gone, None)
        answers = await asyncio.gather(
            *(self.ask(one, "ended", heard.get(name, ())) for name, one in present.items())
        )
        return {name: found for name, found in zip(present, answers, strict=True) if found}
