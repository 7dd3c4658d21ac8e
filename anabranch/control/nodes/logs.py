"""Log lines of a graph's replicas on all machines of an engine, in the order of time.

Where there are several machines, each line has the name of its ``machine`` beside, and a cursor has
a part for each of them: ``<id>/<cursor>;…``. A machine that does not answer, or is no more, is
named in a line of its own; it is read from where it was left once it answers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from anabranch.control.nodes.everywhere import Everywhere
from anabranch.control.nodes.node import ClusterLook, Node
from anabranch.control.observe.logs import (
    Line,
    LoggedReplica,
    Logs,
    Wanted,
    check_cursor,
    in_order,
    replicas_of,
)
from anabranch.errors import InvalidRequest, NotFound

_PART = re.compile(r"([0-9a-f]+)/(.*)")
Told: TypeAlias = Mapping[str, Logs | None]
"""What each machine has told, by name; None for one that did not answer."""
Machines: TypeAlias = Mapping[str, Node]


class EngineLogs:
    """Reads the logs of an engine."""

    def __init__(self, everywhere: Everywhere) -> None:
        self._everywhere = everywhere

    async def read(
        self,
        applications: Mapping[str, Any],
        graph: str,
        wanted: Wanted,
        most: int,
        cursor: str | None = None,
        machine: str = "",
    ) -> Logs:
        """The last ``most`` lines of those that are wanted, or the next ones after a cursor.

        ``applications`` are Serve's details. ``machine`` is the name, the address or the id of the
        one whose lines are wanted, empty for all. Raises InvalidRequest for what is no cursor, and
        NotFound for a machine that is not there.
        """
        replicas = tuple(replicas_of(applications, graph))
        present = self._everywhere.machines
        if machine and not present:
            raise NotFound(f"there is no machine {machine[:128]!r} to choose: the engine has one")
        if not present:
            found: Logs = await self._everywhere.ask(
                None, "lines", replicas, graph, wanted, most, cursor
            )
            return found
        asked = present if not machine else _chosen(machine, present)
        known = None if cursor is None else _parts(cursor)
        told = await self._told(asked, replicas, graph, wanted, most, known)
        lines = [line for name, answer in told.items() for line in _lines(name, answer)]
        if known is None:
            lines += _silent(told) + ([] if machine else _gone(replicas, present))
        lines = in_order(lines, most if known is None else len(lines))
        return Logs(lines, _cursor(known or {}, told, present))

    async def _told(
        self,
        asked: Machines,
        replicas: Sequence[LoggedReplica],
        graph: str,
        wanted: Wanted,
        most: int,
        known: Mapping[str, str] | None,
    ) -> Told:
        calls = []
        for one in asked.values():
            there = tuple(replica for replica in replicas if replica.machine == one.id)
            cursor = None if known is None else known.get(one.id, "")
            calls.append(self._everywhere.ask(one, "lines", there, graph, wanted, most, cursor))
        return dict(zip(asked, await asyncio.gather(*calls), strict=True))


def _chosen(machine: str, present: Machines) -> Machines:
    found = ClusterLook(tuple(present.values())).of(machine)
    return {name: one for name, one in present.items() if one is found}


def _parts(cursor: str) -> dict[str, str]:
    """Return the cursors of machines, by their ids; InvalidRequest for what is none."""
    found = {}
    for part in cursor.split(";") if cursor else ():
        match = _PART.fullmatch(part)
        if match is None:
            raise InvalidRequest(f"after={cursor[:64]!r} is no cursor that this API gave")
        check_cursor(match[2])
        found[match[1]] = match[2]
    return found


def _cursor(known: Mapping[str, str], told: Told, present: Machines) -> str:
    """Return the cursor that goes on after what was told; where nothing was, after ``known``."""
    ends = {**known, **{present[name].id: one.cursor for name, one in told.items() if one}}
    return ";".join(f"{one.id}/{ends[one.id]}" for one in present.values() if one.id in ends)


def _lines(machine: str, answer: Logs | None) -> list[Line]:
    return [{**line, "machine": machine} for line in (answer.lines if answer else ())]


def _silent(told: Told) -> list[Line]:
    return [
        _notice(name, "this machine does not answer, so its logs cannot be read now")
        for name, answer in told.items()
        if answer is None
    ]


def _gone(replicas: Sequence[LoggedReplica], present: Machines) -> list[Line]:
    """Name the machines of replicas that are no more, and their logs with them."""
    there = {one.id for one in present.values()}
    gone = {one.address for one in replicas if one.machine and one.machine not in there}
    return [_notice(address, "this machine is gone, and its logs with it") for address in gone]


def _notice(machine: str, message: str) -> Line:
    return {"time": "", "message": message, "replica": "", "machine": machine}
