"""Rows become answers: a request for some rows, and again for fewer, until it is known which fail.

A row fails for reasons of its own: a value that the input cannot have, or an error of the graph for
this row alone. A request that fails for one is halved, so that the other rows get their answers.
Where the engine is overloaded, away or in a start, the same request is sent again; where it stays
so, the job ends and can be resumed. A request with which a process has ended is sent again when no
other is under way, so that it can end none of the others (``trials``).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Protocol

from anabranch.client.batch.answers import AnsweredRows, FailedRow, GraphReply, failed_row
from anabranch.client.batch.mapping import ColumnMapping, GraphTypes
from anabranch.client.batch.pace import JobGate
from anabranch.client.batch.rows import InputRows
from anabranch.client.batch.trials import RowTrials
from anabranch.client.http import EngineUnreachable
from anabranch.components.tensors.arrays import Array
from anabranch.errors import (
    AnabranchError,
    Conflict,
    DeadlineExceeded,
    EngineError,
    Interrupted,
    JobError,
    NotFound,
    TooManyRequests,
    Unavailable,
)


class AskedGraph(Protocol):
    """A graph that answers requests, wherever it runs."""

    async def types(self) -> GraphTypes:
        """Return the types of its inputs, and of its outputs as far as they are known.

        NotFound where there is no such graph.
        """

    async def infer(self, tensors: Mapping[str, Array]) -> GraphReply:
        """Answer one request, or raise an AnabranchError."""


PATIENCE_S = 600.0
"""Time after which a job ends that gets no answers at all, in seconds."""
_PASSING = (Unavailable, TooManyRequests, EngineUnreachable, Conflict)
"""Errors of the moment, which no row causes."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_LATE = 3
"""Attempts at a single row that takes longer than its deadline."""


class RowAsker:
    """Asks a graph for the answers to rows; ends after ``patience`` seconds without any."""

    def __init__(
        self,
        graph: AskedGraph,
        gate: JobGate,
        patience: float = PATIENCE_S,
        trials: RowTrials | None = None,
    ) -> None:
        self._graph = graph
        self._gate = gate
        self._patience = patience
        self._trials = trials or RowTrials()
        self._answered_at = time.monotonic()

    async def answers(
        self, rows: InputRows, mapping: ColumnMapping
    ) -> tuple[list[AnsweredRows], list[FailedRow]]:
        """Return the answers to rows, and the rows that fail.

        Raise JobError, or the EngineError, where the job cannot go on.
        """
        try:
            reply = await self._reply(rows, mapping)
        except (JobError, EngineError, asyncio.CancelledError):
            raise
        except AnabranchError as error:
            if rows.count == 1:
                return [], [failed_row(rows, error)]
            return await self._halves(rows, mapping)
        return [AnsweredRows(rows, reply)], []

    async def _reply(self, rows: InputRows, mapping: ColumnMapping) -> GraphReply:
        if rows.broken:
            raise AnabranchError(next(iter(rows.broken.values())))
        tensors = mapping.tensors(rows)
        late = 0
        while True:
            try:
                return await self._request(tensors, rows)
            except NotFound as error:
                await self._still_there(error)
                raise
            except DeadlineExceeded:
                late += 1
                if rows.count > 1 or late == _LATE:
                    raise

    async def _halves(
        self, rows: InputRows, mapping: ColumnMapping
    ) -> tuple[list[AnsweredRows], list[FailedRow]]:
        middle = rows.count // 2
        answered, failed = await self.answers(rows.part(0, middle), mapping)
        more, others = await self.answers(rows.part(middle, rows.count), mapping)
        return answered + more, failed + others

    async def _request(self, tensors: Mapping[str, Array], rows: InputRows) -> GraphReply:
        """Send a request until it is answered, or refused for what it is."""
        pause = _FIRST_PAUSE_S
        while True:
            async with self._gate.place(rows.count, alone=self._trials.is_suspect(rows)):
                began = time.monotonic()
                try:
                    reply = await self._tried(tensors, rows)
                except _PASSING as error:
                    self._gate.refused(began)
                    reason: AnabranchError = error
                except AnabranchError:
                    self._answered_at = time.monotonic()
                    raise
                else:
                    self._gate.answered(began)
                    self._answered_at = time.monotonic()
                    return reply
            self._check_patience(reason)
            asked = getattr(reason, "retry_after", 0) if _is_wait(reason) else 0
            await asyncio.sleep(max(asked, pause * random.uniform(0.5, 1.0)))
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _tried(self, tensors: Mapping[str, Array], rows: InputRows) -> GraphReply:
        """Send a request once; AnabranchError where it has ended too many processes."""
        if self._trials.is_suspect(rows):
            await self._graph.types()  # raises while the engine is away, which ends no process
        self._trials.begin(rows)
        try:
            reply = await self._graph.infer(tensors)
        except (Interrupted, asyncio.CancelledError):
            raise
        except Exception:
            self._trials.end(rows)
            raise
        self._trials.end(rows)
        return reply

    def _check_patience(self, error: AnabranchError) -> None:
        waited = time.monotonic() - self._answered_at
        if waited > self._patience:
            raise JobError(
                f"there was no answer for {waited:.0f} s: {error}. The job goes on where it was "
                "when it is started again"
            ) from None

    async def _still_there(self, error: NotFound) -> None:
        """Raise JobError where a 404 is not about a row, but the graph is gone."""
        try:
            await self._graph.types()
        except NotFound:
            raise JobError(str(error)) from None
        except AnabranchError:
            return


def _is_wait(error: AnabranchError) -> bool:
    """Return whether an error says how long to wait: an overload, or a caller's limit."""
    return isinstance(error, Unavailable | TooManyRequests)
