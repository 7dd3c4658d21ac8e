"""A process that a supervisor has ended becomes one event, which names the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from anabranch.control.observe.ended import EndedProcess
from anabranch.control.observe.hung import Ended, HungProcesses
from anabranch.control.store.store import Store
from anabranch.serve.heartbeat import EXCESSIVE, HUNG

SLOW = EndedProcess("1-1", HUNG, "shop", "2", "slow", 3.5, "")
NOBODY = EndedProcess("2-1", HUNG, "shop", "2", "", 3.5, "")
LARGE = EndedProcess("3-1", EXCESSIVE, "shop", "2", "", 3.5, "took 9 MiB of memory")


class Machines:
    """Tells what there is, and forgets what was heard."""

    def __init__(self, **there: list[EndedProcess]) -> None:
        self.there = there
        self.asked = 0

    async def ask(self, heard: Mapping[str, Collection[str]]) -> Ended:
        self.asked += 1
        for machine, pulses in heard.items():
            kept = self.there.get(machine, [])
            self.there[machine] = [one for one in kept if one.pulse not in pulses]
        return {machine: found for machine, found in self.there.items() if found}


def rounds(store: Store, machines: Machines, count: int = 2) -> None:
    async def main() -> None:
        hung = HungProcesses(store, machines.ask)
        for _ in range(count):
            await hung.round()

    asyncio.run(main())


def test_the_node_that_was_called_last_is_told_once(store: Store) -> None:
    machines = Machines(**{"": [SLOW, NOBODY]})
    rounds(store, machines)
    (event,) = store.events("shop")
    assert (event.kind, event.revision) == ("node_hung", 2)
    assert event.data == {"node": "slow", "seconds": 3.5}
    assert "'slow' was called last" in event.message and "machine" not in event.message
    assert machines.there == {"": []}


def test_an_event_names_the_machine_where_there_are_several(store: Store) -> None:
    rounds(store, Machines(one=[SLOW], two=[LARGE]))
    events = {event.kind: event for event in store.events("shop")}
    assert events["node_hung"].data == {"node": "slow", "seconds": 3.5, "machine": "one"}
    assert events["node_hung"].message.endswith("on machine one")
    data = {"node": "", "reason": "took 9 MiB of memory", "machine": "two"}
    assert events["process_excessive"].data == data


def test_what_a_machine_tells_again_is_no_other_event(store: Store) -> None:
    """Its answer may have been lost, or that to the one before."""

    class Deaf(Machines):
        async def ask(self, heard: Mapping[str, Collection[str]]) -> Ended:
            return await super().ask({})

    rounds(store, Deaf(one=[SLOW]), 3)
    assert len(store.events("shop")) == 1


def test_a_machine_that_does_not_answer_for_a_while_tells_no_event_twice(store: Store) -> None:
    class Away(Machines):
        async def ask(self, heard: Mapping[str, Collection[str]]) -> Ended:
            found = await super().ask({})
            return {} if self.asked == 2 else found

    rounds(store, Away(one=[SLOW]), 3)
    assert len(store.events("shop")) == 1
