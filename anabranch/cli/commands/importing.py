"""``import``: specs of other systems as graphs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli.terminal import note, result, write
from anabranch.errors import EngineError
from anabranch.specs.loader import MAX_BYTES


def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A file or a folder with manifests of Seldon Core or KServe, or a"
            " model repository of Triton; - reads manifests from standard input.",
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder of the files; it is made if missing."
        ),
    ] = Path("imported"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 if anything would be left out or is"
        " left to do, and print it."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the files of an older import.")
    ] = False,
) -> None:  # fmt: skip
    """Write graphs that mean the same as specs of Seldon Core, KServe or Triton.

    IMPORT.md among the files lists what was taken over, what was left out and why, and what is
    still to do.
    """
    from anabranch.importers.importing import import_source
    from anabranch.importers.report import unmet
    from anabranch.importers.writing import REPORT_FILE, check_files, files_of

    given = sys.stdin.buffer.read(MAX_BYTES + 1) if str(source) == "-" else None
    graphs = import_source(source, given)
    files = files_of(graphs)
    check_files(files)
    lines = unmet(graphs)
    if check:
        for line in lines:
            result(line)
        if lines:
            raise typer.Exit(1)
        return
    if not force:
        _refuse_older([folder / path for path in files])
    for path, text in files.items():
        write(folder / path, text)
    if lines:
        note(f"{len(lines)} notes on what is left out or still to do: {folder / REPORT_FILE}")


def _refuse_older(paths: list[Path]) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there:
        raise EngineError(f"{there[0]} is there already; --force replaces the files of an import")
