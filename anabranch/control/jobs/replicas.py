"""Replicas of a job's own: each holds the whole graph, and answers chunk after chunk.

They read chunks and write parts themselves, so no row passes through the process of the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from anabranch.client.batch.answers import ChunkAnswers, GraphReply
from anabranch.client.batch.asking import RowAsker
from anabranch.client.batch.job import Answer, JobPace, OpenJob, output_place
from anabranch.client.batch.manifest import JobManifest
from anabranch.client.batch.mapping import GraphTypes
from anabranch.client.batch.pace import JobGate
from anabranch.client.batch.rows import Chunk
from anabranch.client.batch.source import JobSource
from anabranch.client.batch.trials import ChunkTrials
from anabranch.components.tensors.arrays import Array
from anabranch.control.nodes.cluster import RayCluster
from anabranch.control.nodes.node import TAKEN
from anabranch.errors import DeadlineExceeded, Unavailable
from anabranch.graph.compile.loading import open_graph
from anabranch.graph.local import LocalGraph
from anabranch.serve.data_pipeline import ReplicaNeeds, over_replicas
from anabranch.serve.node import node_id
from anabranch.serve.shared.deployed import DeployedModels
from anabranch.serve.workers.bundles import enter_bundle


@dataclass(frozen=True)
class ReplicaSpec:
    """How many replicas of which revision; ``spec`` is its path in the bundle."""

    count: int
    revision: int
    spec: str
    needs: ReplicaNeeds


class LocalRevision:
    """A revision in this process, as a job asks it."""

    def __init__(self, graph: LocalGraph, types: GraphTypes, revision: int, timeout: float) -> None:
        self._graph, self._types, self._revision = graph, types, revision
        self._timeout = timeout

    async def types(self) -> GraphTypes:
        """Return the types that the manifest has."""
        return self._types

    async def infer(self, tensors: Mapping[str, Array]) -> GraphReply:
        """Answer one request."""
        names = list(self._types.outputs)
        try:
            found = await asyncio.to_thread(self._graph.run, tensors, names)
        except TimeoutError:
            raise DeadlineExceeded(f"the graph took longer than {self._timeout:g}s") from None
        return GraphReply(found, self._revision)


class ChunkAnswerer:
    """Answers chunks in a process of its own; Ray Data calls it with the index of each."""

    def __init__(self, spec: str, revision: int, manifest: bytes, rows: int) -> None:
        loaded = open_graph(enter_bundle() / spec)
        begun = JobManifest.from_json(manifest)
        source = JobSource.of(begun.job.input)
        place = output_place(begun.job, source.suffix)
        inputs = {name: one.tensor for name, one in loaded.plan.inputs.items()}
        local = LocalGraph(loaded.plan, loaded.root, DeployedModels.load)
        self._revision = LocalRevision(local, begun.types, revision, loaded.plan.timeout)
        self._opened, self._place = OpenJob.of(begun, source, inputs, place), place
        self._pace = JobPace(rows, concurrency=1)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[int]]:
        """Answer chunks, and return the counts of each."""
        found = [self._answered(int(index)) for index in batch["chunk"]]
        return {"rows": [rows for rows, _ in found], "failed": [failed for _, failed in found]}

    def _answered(self, index: int) -> tuple[int, int]:
        kept: list[ChunkAnswers] = []
        chunk = self._opened.manifest.chunks[index]
        asyncio.run(self._ask(chunk, kept.append))
        rows, failed, _ = kept[0].counts
        return rows, failed

    async def _ask(self, chunk: Chunk, kept: Callable[[ChunkAnswers], None]) -> None:
        trials = ChunkTrials(self._place.trials_of(chunk.index), node_id(), taken_machines)
        asker = RowAsker(self._revision, JobGate(1), trials=trials)
        await self._opened.ask(asker, self._pace, [chunk], kept)
        trials.close()


def taken_machines() -> set[str]:
    """Return the ids of the machines that are taken away, as far as Ray's GCS tells.

    A machine that is lost may be so because of what ran on it.
    """
    with suppress(Unavailable):
        return {one.id for one in RayCluster().look().nodes if one.state in TAKEN}
    return set()


def on_replicas(spec: ReplicaSpec) -> Answer:
    """Return what answers chunks on replicas."""

    async def answer(
        opened: OpenJob,
        chunks: Sequence[Chunk],
        kept: Callable[[int, int, Mapping[int, int]], None],
    ) -> None:
        arguments = {
            "spec": spec.spec,
            "revision": spec.revision,
            "manifest": opened.manifest.to_json(),
            "rows": 1024,
        }

        def work() -> None:
            items = [{"chunk": chunk.index} for chunk in chunks]
            for row in over_replicas(items, ChunkAnswerer, arguments, spec.count, spec.needs):
                kept(row["rows"], row["failed"], {spec.revision: row["rows"] - row["failed"]})

        await asyncio.to_thread(work)

    return answer
