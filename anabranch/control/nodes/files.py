"""What only a machine's own files tell: the logs of its replicas, and the ends of its processes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from anabranch.control.observe.ended import EndedProcess, ended
from anabranch.control.observe.logs import LoggedReplica, Logs, Wanted, read
from anabranch.errors import InvalidRequest

Question: TypeAlias = Literal["lines", "ended"]
"""The methods of ``MachineFiles`` that other processes may ask for."""


class MachineFiles:
    """The files of this machine; ``logs`` gives Ray's folder of logs, ``sockets`` is None where
    there is no folder of them. Its methods block.
    """

    def __init__(self, logs: Callable[[], Path], sockets: Path | None) -> None:
        self._logs = logs
        self._sockets = sockets

    def answer(self, question: Question, *arguments: Any) -> Any:
        """Return what the method of that name does; InvalidRequest for any other name."""
        if question not in (known := get_args(Question)):
            raise InvalidRequest(f"a machine is not asked for {question!r}: {' or '.join(known)}")
        return getattr(self, question)(*arguments)

    def lines(
        self,
        replicas: Sequence[LoggedReplica],
        graph: str,
        wanted: Wanted,
        most: int,
        cursor: str | None,
    ) -> Logs:
        """Read the logs of replicas of this machine, see ``read``."""
        return read(replicas, self._logs(), graph, wanted, most, cursor)

    def ended(self, heard: Collection[str]) -> list[EndedProcess]:
        """Return the processes that were ended here, see ``ended``."""
        return ended(self._sockets, heard)
