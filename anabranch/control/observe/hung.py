"""Makes events of the processes of graphs that supervisors have ended, on all machines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from anabranch.control.observe.ended import EndedProcess
from anabranch.control.store.store import Store
from anabranch.serve.heartbeat import EXCESSIVE

PERIOD_S = 1.0
"""Time between two looks at what supervisors have left, in seconds."""

Ended: TypeAlias = Mapping[str, Sequence[EndedProcess]]
"""Ended processes by the machine's name, which is empty where the engine has one machine."""
Ask: TypeAlias = Callable[[Mapping[str, Collection[str]]], Awaitable[Ended]]
"""Asks all machines for the processes that were ended there, and says by machine which were heard,
by their pulses.
"""


class HungProcesses:
    """Writes an event for each process that a machine tells, once."""

    def __init__(self, store: Store, ask: Ask) -> None:
        self._store = store
        self._ask = ask
        self._heard: dict[str, set[str]] = {}

    async def run(self) -> None:
        """Look each second, for ever."""
        while True:
            await self.round()
            await asyncio.sleep(PERIOD_S)

    async def round(self) -> None:
        """Ask each machine once."""
        for machine, processes in (await self._ask(self._heard)).items():
            before = self._heard.pop(machine, set())
            for one in processes:
                if one.pulse not in before:
                    await asyncio.to_thread(self._note, machine, one)
            if processes:
                self._heard[machine] = {one.pulse for one in processes}

    def _note(self, machine: str, ended: EndedProcess) -> None:
        last = f"node {ended.node!r} was called last in a process that"
        if ended.end == EXCESSIVE:
            kind = "process_excessive"
            message = f"{last if ended.node else 'a process'} {ended.note} and was replaced"
            data: dict[str, Any] = {"node": ended.node, "reason": ended.note}
        elif ended.node:
            kind, seconds = "node_hung", round(ended.patience, 3)
            message = (
                f"{last} did not answer for {seconds:g}s and was replaced: the node may hold "
                "Python's lock"
            )
            data = {"node": ended.node, "seconds": seconds}
        else:
            return
        if machine:
            message, data = f"{message}; on machine {machine}", {**data, "machine": machine}
        self._store.log(ended.graph, int(ended.revision), kind, message, data)
