"""A graph in this process, as a job asks one, and rows for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from anabranch.client.batch.answers import GraphReply
from anabranch.client.batch.job import JobPace, run_job
from anabranch.client.batch.manifest import BatchJob
from anabranch.client.batch.mapping import GraphTypes
from anabranch.client.batch.progress import JobProgress
from anabranch.components.tensors.arrays import Array
from anabranch.errors import AnabranchError
from anabranch.specs.models import TensorSpec

BAD = -1.0


class Doubling:
    """Doubles ``x``; a request with ``BAD`` in it fails. ``before`` is called with each request."""

    def __init__(
        self, width: int = 1, before: Callable[[Array], None] = lambda x: None, batched: bool = True
    ) -> None:
        first = -1 if batched else 1
        shape = (first, width)
        self._types = GraphTypes(
            "doubling",
            {"x": TensorSpec(datatype="FP32", shape=shape)},
            {"y": TensorSpec(datatype="FP32", shape=shape)},
        )
        self.before = before
        self.rows: list[int] = []
        """Rows of each request."""

    async def types(self) -> GraphTypes:
        return self._types

    async def infer(self, tensors: Mapping[str, Array]) -> GraphReply:
        x = tensors["x"]
        self.before(x)
        await asyncio.sleep(0)
        self.rows.append(len(x))
        if (x == BAD).any():
            raise AnabranchError("node 'double' failed: a bad row")
        return GraphReply({"y": np.asarray(2 * x)}, 1)


def run(job: BatchJob, graph: Doubling, *, restart: bool = False, **pace: int) -> JobProgress:
    """Run a job, in requests of 3 rows unless told otherwise."""
    own = JobPace(**{"rows": 3, "concurrency": 2, **pace})  # type: ignore[arg-type]
    return asyncio.run(run_job(job, graph, own, lambda found: None, restart=restart))


def write_csv(path: Path, values: list[float]) -> Path:
    """Write rows with an ``id`` and ``x``."""
    path.write_text("id,x\n" + "".join(f"{at},{value}\n" for at, value in enumerate(values)))
    return path
