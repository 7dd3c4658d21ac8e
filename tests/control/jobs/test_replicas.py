"""A replica of a job's own answers chunks in its process, from the bundle in its working folder."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path

import pytest

from anabranch.client.batch.job import JobPace, OpenJob, output_place, run_job
from anabranch.client.batch.manifest import BatchJob, JobManifest
from anabranch.client.batch.mapping import GraphTypes
from anabranch.client.batch.source import JobSource
from anabranch.control.jobs.replicas import ChunkAnswerer
from anabranch.specs.models import TensorSpec
from tests.client.batch.graphs import Doubling

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: doubling}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 1]}}
  nodes:
    one: {type: transformer, component: parts.py:Half, inputs: {x: x}}
    two: {type: predictor, component: parts.py:Four, inputs: {x: one}, placement: {isolate: true}}
  outputs: {y: two}
"""
CODE = """
class Half:
    def transform(self, x):
        return x / 2


class Four:
    def predict(self, x):
        if (x < 0).any():
            raise ValueError("a bad row")
        return 4 * x
"""


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "graph.yaml").write_text(SPEC)
    (folder / "parts.py").write_text(CODE)
    monkeypatch.chdir(folder)
    return folder


def test_chunks_are_answered_and_kept(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x\n" + "".join(f"{at}\n" for at in range(9)) + "-1\n")
    job = BatchJob("doubling", str(tmp_path / "rows.csv"), str(tmp_path / "out.csv"), chunk=4)
    answerers: list[ChunkAnswerer] = []
    kept: list[tuple[int, int]] = []

    async def answer(opened: OpenJob, chunks: object, told: object) -> None:
        answerer = ChunkAnswerer("graph.yaml", 3, opened.manifest.to_json(), 2)
        answerers.append(answerer)
        for index in (2, 0, 1):
            found = await asyncio.to_thread(answerer, {"chunk": [index]})
            kept.append((found["rows"][0], found["failed"][0]))

    asyncio.run(run_job(job, Doubling(), JobPace(), lambda found: None, answer=answer))
    assert kept == [(2, 1), (4, 0), (4, 0)]
    with (tmp_path / "out.csv").open(newline="") as file:
        found = [(int(row["row"]), float(row["y"])) for row in csv.DictReader(file)]
    assert found == [(at, 2.0 * at) for at in range(9)]
    assert "a bad row" in (tmp_path / "out.csv.errors.jsonl").read_text()


def test_a_manifest_is_all_that_another_process_needs(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,x\n1,2\n3,4\n")
    job = BatchJob("g", str(tmp_path / "rows.csv"), str(tmp_path / "out/"), None, {}, ["id"])
    source = JobSource.of(job.input)
    tensor = TensorSpec(datatype="FP32", shape=(-1,))
    types = GraphTypes("g", {"x": tensor}, {"y": tensor})
    begun = JobManifest(job, source.files, source.headers(), source.chunks(1), types)
    read = JobManifest.from_json(begun.to_json())
    assert (read.files, read.chunks, read.types) == (begun.files, begun.chunks, types)
    opened = OpenJob.of(read, source, types.inputs, output_place(read.job, source.suffix))
    assert opened.mapping.read == ["id", "x"]
    rows = source.read(read, read.chunks[1], opened.mapping.read)
    assert (rows.start, rows.columns["id"].tolist()) == (1, ["3"])
