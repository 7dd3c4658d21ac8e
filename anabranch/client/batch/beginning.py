"""The beginning of a job: its input is divided, and its output's types are learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from anabranch.client.batch.asking import AskedGraph, RowAsker
from anabranch.client.batch.manifest import BatchJob, JobManifest, check_headers
from anabranch.client.batch.mapping import ColumnMapping, mapped, output_columns
from anabranch.client.batch.source import JobSource
from anabranch.errors import JobError
from anabranch.specs.models import TensorSpec

_LOOKED_AT = 10
"""Rows that are asked for at most to learn the types of outputs."""


async def new_manifest(
    job: BatchJob, graph: AskedGraph, asker: RowAsker, source: JobSource
) -> JobManifest:
    """Return the manifest of a new job; JobError where the input does not suit the graph."""
    headers = source.headers()
    types = await graph.types()
    draft = JobManifest(job, source.files, headers, source.chunks(job.chunk), types)
    mapping = mapped(types, headers[0], job.columns or {}, job.kept)
    check_headers(mapping, source.files, headers)
    outputs = await _outputs(draft, graph, asker, source, mapping)
    known = replace(types, outputs=outputs)
    output_columns(replace(mapping, graph=known), {})
    return replace(draft, types=known)


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
