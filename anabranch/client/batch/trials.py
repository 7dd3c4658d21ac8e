"""Counts how often the process that evaluates some rows has ended, and from when on that counts.

A process may end for many reasons. Where it has ended several times with the same rows, fewer of
them are asked for together, down to a single row, which then has failed. Ends of processes whose
machine was taken away say nothing of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container

from anabranch.client.batch import files
from anabranch.client.batch.rows import InputRows
from anabranch.errors import AnabranchError

MOST_ENDS, MOST_ENDS_OF_ROW = 2, 3
"""Ends of the process after which a request is divided, and after which a single row has failed."""


class RowTrials:
    """The requests that were begun and have not ended; ``machine`` is that of the process."""

    def __init__(self, begun: dict[str, list[str]] | None = None, machine: str = "") -> None:
        self._begun = begun or {}
        self._machine = machine

    def is_suspect(self, rows: InputRows) -> bool:
        """Return whether a process has ended with these rows."""
        return _key(rows) in self._begun

    def begin(self, rows: InputRows) -> None:
        """Note that a request begins; AnabranchError where its rows have had all their trials."""
        ends = self._begun.get(_key(rows), [])
        if len(ends) >= (MOST_ENDS_OF_ROW if rows.count == 1 else MOST_ENDS):
            raise AnabranchError(
                f"the process that evaluated it has ended, {len(ends)} times in a row"
            )
        self._begun[_key(rows)] = [*ends, self._machine]

    def end(self, rows: InputRows) -> None:
        """Note that the process has not ended with a request."""
        self._begun.pop(_key(rows), None)


class ChunkTrials(RowTrials):
    """The requests of a chunk, in a file that outlives a process which ends with one of them.

    The file says that the chunk was begun, and from then on each request that is, with the machine
    of each trial. Those on machines that are ``taken`` away do not count.
    """

    def __init__(
        self, url: str, machine: str = "", taken: Callable[[], Container[str]] = frozenset
    ) -> None:
        self._url = url
        self._was_begun = files.exists(url)
        super().__init__(_counted(url, taken) if self._was_begun else {}, machine)
        self._write()

    def begin(self, rows: InputRows) -> None:
        """Note that a request begins, as ``RowTrials`` does."""
        super().begin(rows)
        if self._was_begun:
            self._write()

    def close(self) -> None:
        """Remove the file: the chunk is written."""
        files.remove(self._url)

    def _write(self) -> None:
        files.put(self._url, json.dumps(self._begun).encode())


def _counted(url: str, taken: Callable[[], Container[str]]) -> dict[str, list[str]]:
    """Return the trials in a file that count."""
    gone, trials = taken(), json.loads(files.read(url))
    lists = {key: ends for key, ends in trials.items() if isinstance(ends, list)}  # once: numbers
    kept = {key: [one for one in ends if one not in gone] for key, ends in lists.items()}
    return {key: ends for key, ends in kept.items() if ends}


def _key(rows: InputRows) -> str:
    return f"{rows.start}+{rows.count}"
