"""Runs a job: reads chunks ahead, asks for their rows, and keeps each chunk that is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

from anabranch.client.batch.answers import ChunkAnswers
from anabranch.client.batch.asking import RowAsker
from anabranch.client.batch.mapping import ColumnMapping
from anabranch.client.batch.parts import JobParts
from anabranch.client.batch.rows import Chunk, InputRows

Read: TypeAlias = Callable[[Chunk], InputRows]
"""Returns the rows of a chunk."""


async def run(
    chunks: Iterable[Chunk],
    read: Read,
    mapping: ColumnMapping,
    asker: RowAsker,
    parts: JobParts,
    kept: Callable[[ChunkAnswers], None],
    *,
    rows: int,
    concurrency: int,
) -> None:
    """Answer chunks in their order, in requests of so many rows, and keep the answers.

    ``kept`` hears of each chunk. No more is read than is being asked for. Errors of files, of the
    engine, and of the job end it.
    """
    turn = asyncio.Lock()
    async with aclosing(_pieces(chunks, read, rows)) as pieces:

        async def worker() -> None:
            while True:
                async with turn:
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                answers, part = piece
                answers.add(*await asker.answers(part, mapping))
                if answers.is_complete:
                    await asyncio.to_thread(parts.write, answers)
                    kept(answers)

        await _together([worker() for _ in range(concurrency)])


async def _pieces(
    chunks: Iterable[Chunk], read: Read, rows: int
) -> AsyncGenerator[tuple[ChunkAnswers, InputRows]]:
    """Yield parts of chunks with so many rows, and what gathers the answers to the chunk."""
    for chunk in chunks:
        found = await asyncio.to_thread(read, chunk)
        answers = ChunkAnswers(chunk)
        for at in range(0, found.count, rows):
            yield answers, found.part(at, min(at + rows, found.count))


async def _together(workers: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines until all have ended; raise the first error by itself, and end the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
