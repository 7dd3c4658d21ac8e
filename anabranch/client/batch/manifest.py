"""The manifest of a job: what it was started with, and the chunks of its input.

It lies beside the parts. A job that is started again goes on only if it would give the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

import orjson

from anabranch.client.batch.files import InputFile
from anabranch.client.batch.mapping import ColumnMapping, GraphTypes
from anabranch.client.batch.rows import Chunk, RowSpan, in_order
from anabranch.components.artefacts.uris import redacted
from anabranch.errors import JobError
from anabranch.specs.models import TensorSpec

VERSION = 1


@dataclass(frozen=True)
class BatchJob:
    """A job as the user asks for it.

    ``columns`` are those of the inputs that are mapped, ``kept`` are copied, ``outputs`` are asked
    for (all, if there are none), and ``chunk`` are rows of a chunk, None for a size that suits.
    """

    graph: str
    input: str
    output: str
    revision: int | None = None
    columns: Mapping[str, Sequence[str]] | None = None
    kept: Sequence[str] = ()
    outputs: Sequence[str] = ()
    chunk: int | None = None


@dataclass(frozen=True)
class JobManifest:
    """A job, its input as it was found, and the types of the graph with which it began.

    ``header`` are the columns of each file.
    """

    job: BatchJob
    files: Sequence[InputFile]
    headers: Sequence[Sequence[str]]
    chunks: Sequence[Chunk]
    types: GraphTypes
    is_finished: bool = False

    @property
    def rows(self) -> int:
        """Number of rows of the input."""
        return sum(chunk.rows for chunk in self.chunks)

    def to_json(self) -> bytes:
        """Return the manifest as JSON."""
        return orjson.dumps(
            {
                "version": VERSION,
                "job": job_document(self.job),
                "files": [list(file) for file in self.files],
                "headers": self.headers,
                "chunks": [astuple(chunk.span) for chunk in self.chunks],
                "inputs": _listed(self.types.inputs),
                "outputs": _listed(self.types.outputs),
                "finished": self.is_finished,
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read what ``to_json`` has written; ValueError for anything else."""
        found = orjson.loads(text)
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise ValueError("no manifest of this version")
        job = BatchJob(**found["job"])
        return cls(
            job,
            [InputFile(*file) for file in found["files"]],
            found["headers"],
            in_order(RowSpan(*span) for span in found["chunks"]),
            GraphTypes(job.graph, _tensors(found["inputs"]), _tensors(found["outputs"])),
            found["finished"],
        )


def job_document(job: BatchJob) -> dict[str, Any]:
    """Return a job as JSON has it."""
    columns = {name: list(listed) for name, listed in (job.columns or {}).items()}
    listed = {"columns": columns, "kept": list(job.kept), "outputs": list(job.outputs)}
    return {**job.__dict__, **listed}


def _listed(tensors: Mapping[str, TensorSpec]) -> dict[str, Any]:
    return {name: [one.datatype, one.shape] for name, one in tensors.items()}


def _tensors(listed: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(datatype=datatype, shape=tuple(shape))
        for name, (datatype, shape) in listed.items()
    }


def check_same(begun: JobManifest, job: BatchJob, files: Sequence[InputFile], place: str) -> None:
    """Raise JobError where a job that was begun is another than the one that is asked for."""
    before, now = job_document(begun.job), job_document(job)
    differences = [
        f"{name} was {_shown(before[name])} and is {_shown(now[name])}"
        for name in now
        if name != "output" and before[name] != now[name]
    ]
    if [tuple(file) for file in begun.files] != [tuple(file) for file in files]:
        differences.append(_changed_files(begun.files, files))
    if differences:
        raise JobError(
            f"{redacted(place)} holds a job that was started with something else: "
            f"{'; '.join(differences)}. Start the job as before to go on with it, or with "
            "--restart to begin anew"
        )


def _shown(value: object) -> str:
    return repr(redacted(value) if isinstance(value, str) else value)


def _changed_files(before: Sequence[InputFile], now: Sequence[InputFile]) -> str:
    old, new = {file.url: file for file in before}, {file.url: file for file in now}
    for url, file in new.items():
        if url not in old:
            return f"the file {redacted(url)} is new"
        if old[url] != file:
            sizes = f"{old[url].size} bytes before, {file.size} now"
            return f"the file {redacted(url)} has changed ({sizes})"
    gone = next(url for url in old if url not in new)
    return f"the file {redacted(gone)} is gone"


def check_headers(
    mapping: ColumnMapping, files: Sequence[InputFile], headers: Sequence[Sequence[str]]
) -> None:
    """Raise JobError for a file that lacks a column which is read of the first one."""
    for file, header in zip(files, headers, strict=True):
        missing = next((name for name in mapping.read if name not in header), None)
        if missing is not None:
            shown = redacted(file.url)
            raise JobError(f"{shown} has no column {missing!r}, which the first file has")
