"""A job from its beginning to its end: finds or begins it, and runs what remains of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anabranch.client import control, inference
from anabranch.client.batch import runner
from anabranch.client.batch.answers import GraphReply
from anabranch.client.batch.asking import PATIENCE_S, AskedGraph, RowAsker
from anabranch.client.batch.formats.by_suffix import SUFFIXES, format_of, suffix_of
from anabranch.client.batch.manifest import BatchJob, JobManifest, check_headers, check_same
from anabranch.client.batch.mapping import ColumnMapping, GraphTypes, mapped, output_columns
from anabranch.client.batch.pace import JobGate
from anabranch.client.batch.parts import JobParts, OutputPlace, PartFiles, PartStream
from anabranch.client.batch.progress import JobProgress
from anabranch.client.batch.source import JobSource
from anabranch.client.connection.login import destination
from anabranch.client.connection.session import EngineSession
from anabranch.client.http import AsyncTransport
from anabranch.components.tensors.arrays import Array
from anabranch.errors import JobError
from anabranch.graph.batch.batching import LOWEST_LEVEL, PRIORITY
from anabranch.specs.models import TensorSpec

STREAM = "-"
"""Output that is standard output."""
ROWS, CONCURRENCY = 32, 8
_LOOKED_AT = 10
"""Rows that are asked for at most to learn the types of outputs."""


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
        outputs = _types(found["outputs"])
        asked = {name: one for name, one in outputs.items() if name in (job.outputs or outputs)}
        return GraphTypes(job.graph, _types(found["inputs"]), asked)

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


def _types(tensors: list[dict[str, object]]) -> dict[str, TensorSpec]:
    return {
        str(one["name"]): TensorSpec.model_validate(
            {"datatype": one["datatype"], "shape": one["shape"]}
        )
        for one in tensors
    }


async def ask_engine(
    job: BatchJob, pace: JobPace, home: Path, said: runner.Said, *, restart: bool = False
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


async def run_job(
    job: BatchJob, graph: AskedGraph, pace: JobPace, said: runner.Said, *, restart: bool = False
) -> JobProgress:
    """Run a job, from where it was if it was begun before; return its counts.

    ``restart`` begins it anew. ``said`` is told of progress, for the first time before it begins.
    Raise JobError where it cannot begin or go on; what it has written stays, and is gone on with.
    """
    source = JobSource.of(job.input)
    place = None if job.output == STREAM else _place(job.output, source.suffix)
    manifest = None if place is None else _begun(place, job, source, restart)
    if place is not None and manifest is not None and manifest.is_finished:
        return _finished(place, manifest, said)
    gate = JobGate(pace.concurrency, pace.rate)
    asker = RowAsker(graph, gate, pace.patience)
    if manifest is None:
        manifest = await _manifest(job, graph, asker, source)
        if place is not None:
            place.begin(manifest)
    mapping = _mapping(await graph.types(), manifest, job)
    columns = output_columns(mapping, source.types())
    parts: JobParts
    if place is None:
        parts = PartStream(columns, sys.stdout.buffer, sys.stderr.buffer)
    else:
        parts = PartFiles(place, format_of(place.suffix), columns)
    done = parts.done()
    resumed = sum(chunk.rows for chunk in manifest.chunks if chunk.index in done)
    progress = JobProgress(manifest.rows, resumed, sum(done.values()))
    said(progress)
    await runner.run(
        [chunk for chunk in manifest.chunks if chunk.index not in done],
        partial(source.read, manifest, columns=mapping.read),
        mapping,
        asker,
        parts,
        progress,
        rows=pace.rows if mapping.graph.takes_rows else 1,
        concurrency=pace.concurrency,
        said=said,
    )
    return progress


def errors_file(job: BatchJob) -> str:
    """Return the file of the rows that fail."""
    return "stderr" if job.output == STREAM else _place(job.output, "").errors


def _place(output: str, suffix: str) -> OutputPlace:
    """Return where the output goes; a folder gets files of the input's format."""
    if output.endswith("/") or not output.lower().endswith(tuple(SUFFIXES)):
        return OutputPlace(output, suffix, is_folder=True)
    return OutputPlace(output, suffix_of(output), is_folder=False)


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


def _finished(place: OutputPlace, manifest: JobManifest, said: runner.Said) -> JobProgress:
    """Remove what a finished job had no time to remove."""
    place.clear()
    progress = JobProgress(manifest.rows, manifest.rows, place.failed())
    said(progress)
    return progress


async def _manifest(
    job: BatchJob, graph: AskedGraph, asker: RowAsker, source: JobSource
) -> JobManifest:
    """Return the manifest of a new job; JobError where the input does not suit the graph."""
    headers = source.headers()
    draft = JobManifest(job, source.files, headers, source.chunks(job.chunk), {})
    types = await graph.types()
    mapping = mapped(types, headers[0], job.columns or {}, job.kept)
    check_headers(mapping, source.files, headers)
    outputs = await _outputs(draft, graph, asker, source, mapping)
    output_columns(ColumnMapping(_with(types, outputs), mapping.columns, mapping.kept), {})
    return JobManifest(job, source.files, headers, draft.chunks, outputs)


async def _outputs(
    manifest: JobManifest,
    graph: AskedGraph,
    asker: RowAsker,
    source: JobSource,
    mapping: ColumnMapping,
) -> Mapping[str, TensorSpec]:
    """Return the types of the outputs, as the graph tells them once it has answered a first row.

    Inputs without a column are left out; JobError where the graph does not allow that.
    """
    if not manifest.chunks:
        return mapping.graph.outputs
    first = source.read(manifest, manifest.chunks[0], mapping.read)
    for at in range(min(first.count, _LOOKED_AT)):
        answered, failed = await asker.answers(first.part(at, at + 1), mapping)
        if answered:
            return (await graph.types()).outputs
        if mapping.missing and any(f"{name!r}" in failed[0].error for name in mapping.missing):
            raise JobError(
                f"no column is mapped to {', '.join(mapping.missing)}, and the graph answers: "
                f"{failed[0].error}"
            )
    unknown = [name for name in manifest.job.outputs if name not in mapping.graph.outputs]
    if unknown:
        raise JobError(f"the first rows got no output {', '.join(unknown)}: {failed[0].error}")
    return mapping.graph.outputs


def _mapping(graph: GraphTypes, manifest: JobManifest, job: BatchJob) -> ColumnMapping:
    return mapped(_with(graph, manifest.outputs), manifest.headers[0], job.columns or {}, job.kept)


def _with(graph: GraphTypes, outputs: Mapping[str, TensorSpec]) -> GraphTypes:
    return GraphTypes(graph.name, graph.inputs, outputs)
