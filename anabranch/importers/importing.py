"""From a file, a folder or standard input to graphs."""

from __future__ import annotations

from pathlib import Path

from anabranch.errors import Problem, SpecError
from anabranch.importers.kinds import import_manifests, importable
from anabranch.importers.manifests import file_content, folder_files, read_manifests
from anabranch.importers.placing import placed
from anabranch.importers.result import ImportedGraph
from anabranch.importers.triton.graphs import import_repository
from anabranch.importers.triton.repository import is_repository

STDIN = "<stdin>"


def import_source(source: Path, given: bytes | None = None) -> list[ImportedGraph]:
    """Return the graphs of the file or folder ``source``, or of the text ``given``.

    A folder with a ``config.pbtxt``, in itself or a folder below, is a model repository of Triton.
    Raise SpecError for every mistake that is found, with its position.
    """
    if given is None and is_repository(source):
        return import_repository(source)
    if given is not None:
        files = [(STDIN, given)]
    elif source.is_dir():
        files = folder_files(source)
    else:
        files = [(str(source), file_content(source))]
    manifests = read_manifests(files, are_all=given is not None or not source.is_dir())
    if not any(manifest.kind for manifest in manifests):
        said = f"holds no manifest; these can be imported: {', '.join(importable())}"
        raise SpecError([Problem((), said, None, STDIN if given is not None else str(source))])
    return placed(import_manifests(manifests))
