"""``batch``: sends the rows of files through a graph, and writes the answers to files."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.input import shares
from anabranch.cli.terminal import note, progress, result

if TYPE_CHECKING:
    from anabranch.client.batch.manifest import BatchJob
    from anabranch.client.batch.progress import JobProgress

_EVERY_S = {True: 0.2, False: 10.0}
"""Seconds between two reports of progress, on a terminal and elsewhere."""
_NICENESS = 10
"""What a job takes of this machine's processors is left over by others, such as the engine."""


Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="INPUT=COLUMN,...",
        help="Columns of an input of the graph, such as 'x=a,b,c' or 'x=pixel_*'. Repeatable."
        " [default: the column of its name]",
    ),
]
Id = Annotated[
    str,
    typer.Option(
        "--id",
        metavar="COLUMN",
        help="Column that tells the rows of the output apart. [default: row, the row's number]",
        show_default=False,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="COLUMN,...",
        help="Columns that are copied to the output; '*' for all. Repeatable.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="OUTPUT,...",
        help="Outputs of the graph that are asked for; all if left out. Repeatable.",
    ),
]
Revision = Annotated[
    int | None,
    typer.Option(
        "--revision",
        parser=shares.revision,
        metavar="REVISION",
        help="Revision that answers all rows, such as r3; the traffic's split if left out.",
    ),
]
ChunkRows = Annotated[
    int | None,
    typer.Option(
        "--chunk",
        min=1,
        help="Rows that are written together, and asked for again after a crash. [default: 1000,"
        " more for more than a million rows]",
        show_default=False,
    ),
]


def batch(
    graph: options.GraphName,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="Rows: a file (.parquet, .csv, .tsv, .jsonl), a folder, a pattern, or a URL such"
            " as s3://bucket/rows/.",
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUTPUT",
            help="File, folder or URL for the answers; - for JSON lines on stdout.",
        ),
    ],
    columns: Map = None,
    id: Id = "",
    keep: Keep = None,
    only: Only = None,
    revision: Revision = None,
    rows: Annotated[
        int, typer.Option("--rows", min=1, max=100_000, help="Most rows of a request.")
    ] = 32,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=256, help="Most requests at the same time.")
    ] = 8,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.001, max=1e9, help="Most rows a second.")
    ] = None,
    chunk: ChunkRows = None,
    replicas: Annotated[
        int,
        typer.Option(
            "--replicas",
            min=0,
            max=1024,
            help="Replicas of the job's own, which the engine starts: they leave those of the"
            " graph alone.",
        ),
    ] = 0,
    engine: Annotated[
        bool,
        typer.Option(
            "--engine",
            help="Have the engine read and write the files, below what ANABRANCH_JOBS allows; the"
            " job goes on without this command.",
        ),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin anew, in place of a job that was begun before."),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            parser=options.duration,
            metavar="DURATION",
            help="Longest time of a request, such as 30s; the graph's own if left out.",
            show_default=False,
        ),
    ] = math.inf,
    patience: Annotated[
        float,
        typer.Option(
            "--patience",
            parser=options.duration,
            metavar="DURATION",
            help="End if there is no answer for so long. [default: 10m]",
            show_default=False,
        ),
    ] = 600.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Report progress and result as JSON lines.")
    ] = False,
    home: options.Home = None,
) -> None:
    """Send the rows of files through a graph, and write the answers, each row once.

    Rows that fail go to a file beside the output, with their errors. A job that was cut off goes on
    where it was when the same command is typed again. Requests have the lowest priority, and the
    job takes what other requests leave. Exits with 1 if a row has failed.
    """
    from anabranch.cli.commands.jobs.on_engine import run_on_engine
    from anabranch.cli.reports.batch import result_text
    from anabranch.client.batch.job import STREAM, JobPace, ask_engine, errors_file
    from anabranch.client.batch.manifest import BatchJob
    from anabranch.client.batch.mapping import read_map
    from anabranch.client.connection.engine_state import resolve_home

    kept = [*([id] if id else []), *_listed(keep)]
    job = BatchJob(
        graph, source, target, revision, read_map(columns or ()), kept, _listed(only), chunk
    )
    if engine or replicas:
        if restart or timeout < math.inf or target == STREAM:
            raise typer.BadParameter(
                "a job of the engine writes files, and takes neither --restart nor --timeout"
            )
        run_on_engine(job, rows, concurrency, rate, replicas, as_json, home)
        return
    seconds = timeout if timeout < math.inf else None
    pace = JobPace(rows, concurrency, rate, seconds, patience)
    os.nice(_NICENESS)
    with _reporting(job, as_json) as said:
        found = asyncio.run(ask_engine(job, pace, resolve_home(home), said, restart=restart))
    if as_json:
        _line({**found.document(), "output": target, "errors": errors_file(job)}, job)
    else:
        note(result_text(found, target, errors_file(job)))
    if found.failed:
        raise typer.Exit(1)


def _listed(texts: list[str] | None) -> list[str]:
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


@contextmanager
def _reporting(job: BatchJob, as_json: bool) -> Iterator[Callable[[JobProgress], None]]:
    """Yield the listener that reports progress now and then."""
    if as_json:
        yield _sometimes(1.0, lambda found: _line(found.document(), job))
        return
    from anabranch.cli.reports.batch import progress_text

    with progress(f"sending rows to {job.graph}") as say:
        every = _EVERY_S[sys.stderr.isatty()]
        yield _sometimes(every, lambda found: say(progress_text(found)))


def _line(document: dict[str, Any], job: BatchJob) -> None:
    """Write a line of JSON: on stderr where the rows are on stdout."""
    (note if job.output == "-" else result)(json.dumps(document, ensure_ascii=False))


def _sometimes(seconds: float, say: Callable[[JobProgress], None]) -> Callable[[JobProgress], None]:
    """Return a listener that tells another one at most every so many seconds."""
    last = float("-inf")

    def said(found: JobProgress) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            say(found)

    return said
