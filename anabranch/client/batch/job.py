"""A job from its beginning to its end: finds or begins it, and runs what remains of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self, TypeAlias

from anabranch.client import control, inference
from anabranch.client.batch import runner
from anabranch.client.batch.answers import ChunkAnswers, GraphReply
from anabranch.client.batch.asking import PATIENCE_S, AskedGraph, RowAsker
from anabranch.client.batch.beginning import new_manifest
from anabranch.client.batch.claim import claimed, this_process
from anabranch.client.batch.compression import compression_of
from anabranch.client.batch.formats.by_suffix import SUFFIXES, format_of, suffix_of
from anabranch.client.batch.manifest import BatchJob, JobManifest, check_same
from anabranch.client.batch.mapping import ColumnMapping, GraphTypes, mapped, output_columns
from anabranch.client.batch.pace import JobGate
from anabranch.client.batch.parts import JobParts, OutputPlace, PartFiles, PartStream
from anabranch.client.batch.progress import JobProgress
from anabranch.client.batch.rows import Chunk
from anabranch.client.batch.source import JobSource
from anabranch.client.connection.login import destination
from anabranch.client.connection.session import EngineSession
from anabranch.client.http import AsyncTransport
from anabranch.components.tensors.arrays import Array
from anabranch.graph.batch.batching import LOWEST_LEVEL, PRIORITY
from anabranch.specs.models import TensorSpec

STREAM = "-"
"""Output that is standard output."""
ROWS, CONCURRENCY = 32, 8


@dataclass(frozen=True)
class JobPace:
    """How a job asks: rows a request, most requests at a time, most rows a second."""

    rows: int = ROWS
    concurrency: int = CONCURRENCY
    rate: float | None = None
    timeout: float | None = None
    """Seconds for a request; those of the graph where it is None."""
    patience: float = PATIENCE_S


class EngineGraph:
    """A graph of an engine, which is asked over HTTP, at the lowest priority."""

    def __init__(
        self,
        transport: AsyncTransport,
        session: EngineSession,
        job: BatchJob,
        timeout: float | None = None,
    ) -> None:
        self._transport = transport
        self._session = session
        self._job = job
        self._timeout = timeout

    async def types(self) -> GraphTypes:
        """Return the types of the graph; NotFound where there is none."""
        job = self._job
        found = await self._transport.run(control.metadata(job.graph, job.revision))
        outputs = inference.declared(found["outputs"])
        asked = {name: one for name, one in outputs.items() if name in (job.outputs or outputs)}
        return GraphTypes(job.graph, inference.declared(found["inputs"]), asked)

    async def infer(self, tensors: Mapping[str, Array]) -> GraphReply:
        """Return the outputs of one request."""
        reply = await self._transport.run(
            inference.infer(
                self._session,
                self._job.graph,
                tensors,
                self._job.outputs,
                revision=self._job.revision,
                parameters={PRIORITY: LOWEST_LEVEL},
                timeout=self._timeout,
            )
        )
        return GraphReply(reply.outputs, reply.revision)


async def ask_engine(
    job: BatchJob, pace: JobPace, home: Path, said: Said, *, restart: bool = False
) -> JobProgress:
    """Run a job by the engine that a home, a login or the environment names; see ``run_job``."""
    url, key, verify = destination(home)
    transport = AsyncTransport(url, key, verify=verify)
    session = EngineSession(url, key, home, verify)
    try:
        graph = EngineGraph(transport, session, job, pace.timeout)
        return await run_job(job, graph, pace, said, restart=restart)
    finally:
        await transport.close()


@dataclass(frozen=True)
class OpenJob:
    """A job that has begun: its input, and where its answers go."""

    manifest: JobManifest
    source: JobSource
    mapping: ColumnMapping
    parts: JobParts

    @classmethod
    def of(
        cls,
        manifest: JobManifest,
        source: JobSource,
        inputs: Mapping[str, TensorSpec],
        place: OutputPlace | None,
    ) -> Self:
        """Open a job by its manifest; without a place, its rows go to stdout."""
        job = manifest.job
        known = replace(manifest.types, inputs=inputs)
        mapping = mapped(known, manifest.headers[0], job.columns or {}, job.kept)
        columns = output_columns(mapping, source.types())
        parts: JobParts
        if place is None:
            parts = PartStream(columns, sys.stdout.buffer, sys.stderr.buffer)
        else:
            parts = PartFiles(place, format_of(place.suffix), columns)
        return cls(manifest, source, mapping, parts)

    async def ask(
        self,
        asker: RowAsker,
        pace: JobPace,
        chunks: Iterable[Chunk],
        kept: Callable[[ChunkAnswers], None],
    ) -> None:
        """Ask for the answers to chunks, and keep them; ``kept`` hears of each."""
        await runner.run(
            chunks,
            partial(self.source.read, self.manifest, columns=self.mapping.read),
            self.mapping,
            asker,
            self.parts,
            kept,
            rows=pace.rows if self.mapping.graph.takes_rows else 1,
            concurrency=pace.concurrency,
        )


Said: TypeAlias = Callable[[JobProgress], None]
Answer: TypeAlias = Callable[
    [OpenJob, Sequence[Chunk], Callable[[int, int, Mapping[int, int]], None]], Awaitable[None]
]
"""Answers chunks of a job and keeps the answers, some other way than by requests. It tells of each:
its rows, how many of them have failed, and how many each revision has answered."""


async def run_job(
    job: BatchJob,
    graph: AskedGraph,
    pace: JobPace,
    said: Said,
    *,
    restart: bool = False,
    answer: Answer | None = None,
    by: str | None = None,
) -> JobProgress:
    """Run a job, from where it was if it was begun before; return its counts.

    ``restart`` begins it anew. ``said`` is told of progress, for the first time before it begins.
    ``answer`` answers the chunks in place of ``graph``, which is then only asked for its types,
    when the job begins.
    ``by`` names who runs it to others that want to write the same output; this process, if left
    out. Raise JobError where it cannot begin or go on, or another is writing the output; what it
    has written stays, and is gone on with.
    """
    source = JobSource.of(job.input)
    place = None if job.output == STREAM else output_place(job, source.suffix)
    claim = nullcontext() if place is None else claimed(place.folder, by or this_process())
    async with claim:
        return await _run(job, graph, pace, said, source, place, restart, answer)


async def _run(
    job: BatchJob,
    graph: AskedGraph,
    pace: JobPace,
    said: Said,
    source: JobSource,
    place: OutputPlace | None,
    restart: bool,
    answer: Answer | None,
) -> JobProgress:
    manifest = None if place is None else _begun(place, job, source, restart)
    if place is not None and manifest is not None and manifest.is_finished:
        return _finished(place, manifest, said)
    asker = RowAsker(graph, JobGate(pace.concurrency, pace.rate), pace.patience)
    if manifest is None:
        manifest = await new_manifest(job, graph, asker, source)
        if place is not None:
            place.begin(manifest)
    inputs = (await graph.types() if answer is None else manifest.types).inputs
    opened = OpenJob.of(manifest, source, inputs, place)
    done = opened.parts.done()
    resumed = sum(chunk.rows for chunk in manifest.chunks if chunk.index in done)
    progress = JobProgress(manifest.rows, resumed, sum(done.values()))
    said(progress)

    def kept(rows: int, failed: int, revisions: Mapping[int, int]) -> None:
        progress.count(rows, failed, revisions)
        said(progress)

    todo = [chunk for chunk in manifest.chunks if chunk.index not in done]
    if answer is not None:
        await answer(opened, todo, kept)
    else:
        await opened.ask(asker, pace, todo, lambda one: kept(*one.counts))
    await asyncio.to_thread(opened.parts.finish)
    return progress


def errors_file(job: BatchJob) -> str:
    """Return the file of the rows that fail."""
    return "stderr" if job.output == STREAM else output_place(job, "").errors


def output_place(job: BatchJob, suffix: str) -> OutputPlace:
    """Return where the output goes; a folder gets files of the input's format.

    Parts of a file are not compressed: it is, once they are put together.
    """
    output = job.output
    if output.endswith("/") or not output.lower().endswith(tuple(SUFFIXES)):
        return OutputPlace(output, suffix, is_folder=True)
    known = suffix_of(output)
    return OutputPlace(output, known.removesuffix(compression_of(known)), is_folder=False)


def _begun(
    place: OutputPlace, job: BatchJob, source: JobSource, restart: bool
) -> JobManifest | None:
    """Return the job that was begun at a place, if it is this one; JobError if it is another."""
    if restart:
        place.restart()
    manifest = place.manifest()
    if manifest is None:
        place.check_free()
    else:
        check_same(manifest, job, source.files, place.folder)
    return manifest


def _finished(place: OutputPlace, manifest: JobManifest, said: Said) -> JobProgress:
    """Remove what a finished job had no time to remove."""
    place.clear()
    progress = JobProgress(manifest.rows, manifest.rows, place.failed())
    said(progress)
    return progress
