"""Reads manifests of Kubernetes: YAML or JSON, several in a file, several files in a folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from anabranch.errors import FieldPath, Position, Problem, SpecError
from anabranch.specs.excerpts import in_words
from anabranch.specs.loader import MAX_BYTES, Document, parse_all

MAX_FILES = 1000
"""Most files of a folder."""
WRITTEN_BY_CLUSTERS = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink",
    "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "ownerReferences",
    "clusterName",
)  # fmt: skip
"""Fields that a cluster writes into the metadata of an object."""
SUFFIXES = (".yaml", ".yml", ".json")
_TEMPLATE = "{{"
_KSERVE = re.compile(r"\{\{\s*\.(Name|Namespace|Labels|Annotations)\b")
"""What KServe itself fills into the containers of a ServingRuntime; Helm has no such objects."""


@dataclass(frozen=True)
class Manifest:
    """One object of Kubernetes, and the place in a file that it stands at."""

    document: Document
    data: Mapping[str, Any]
    path: FieldPath = ()
    """The place of ``data`` in the document: within ``items``, where the document is a list."""

    @property
    def api_version(self) -> str:
        """``apiVersion``; empty if there is none."""
        return self._text("apiVersion")

    @property
    def group(self) -> str:
        """The API group: ``serving.kserve.io`` of ``serving.kserve.io/v1beta1``."""
        return self.api_version.rpartition("/")[0]

    @property
    def kind(self) -> str:
        """``kind``; empty if there is none."""
        return self._text("kind")

    @property
    def name(self) -> str:
        """``metadata.name``; empty if there is none."""
        return self._metadata("name")

    @property
    def namespace(self) -> str:
        """``metadata.namespace``; empty if there is none."""
        return self._metadata("namespace")

    def problem(self, path: FieldPath, message: str) -> Problem:
        """Return a mistake at ``path`` below the object, with its position in the file."""
        return self.document.problem((*self.path, *path), message)

    def position(self, path: FieldPath) -> Position:
        """Return the line and the column of the field at ``path`` below the object."""
        return self.document.position((*self.path, *path))

    def refuse(self, path: FieldPath, message: str) -> NoReturn:
        """Raise a SpecError with this one mistake."""
        raise SpecError([self.problem(path, message)])

    def _text(self, key: str) -> str:
        value = self.data.get(key)
        return value if isinstance(value, str) else ""

    def _metadata(self, key: str) -> str:
        metadata = self.data.get("metadata")
        value = metadata.get(key) if isinstance(metadata, Mapping) else None
        return value if isinstance(value, str) else ""


def read_manifests(sources: Iterable[tuple[str, bytes]], are_all: bool = True) -> list[Manifest]:
    """Return the objects in files that are given as (name, content); lists are taken apart.

    Raise SpecError for text that is neither YAML nor JSON, for templates, and, where
    ``are_all`` says that the files are of objects of Kubernetes, for documents that are none; else
    such a document is a manifest without a kind.
    """
    found: list[Manifest] = []
    for name, content in sources:
        if _TEMPLATE.encode() in content:
            _refuse_template(name, content)
        for document in parse_all(content, name):
            if document.problems:
                raise SpecError(document.problems)
            found += _objects(document, document.data, (), are_all)
    return found


def folder_files(folder: Path) -> list[tuple[str, bytes]]:
    """Return the YAML and JSON files below a folder as (path, content), sorted by path.

    Raise SpecError for more than MAX_FILES files, and for files over the limit of a spec.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if len(paths) > MAX_FILES:
        said = f"holds {len(paths)} YAML and JSON files; the limit is {MAX_FILES}"
        raise SpecError([Problem((), said, None, str(folder))])
    return [(str(path), file_content(path)) for path in paths]


def file_content(path: Path) -> bytes:
    """Return the content of a file, at most one byte over the limit of a spec.

    Raise SpecError where it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        said = f"cannot be read: {error.strerror or error}"
        raise SpecError([Problem((), said, None, str(path))]) from None


def _objects(document: Document, data: Any, path: FieldPath, are_all: bool) -> Iterator[Manifest]:
    is_one = isinstance(data, Mapping) and all(
        isinstance(data.get(field), str) for field in ("apiVersion", "kind")
    )
    if not is_one and not are_all:
        yield Manifest(document, {}, path)
        return
    if not isinstance(data, Mapping):
        said = f"must be an object with `apiVersion` and `kind`, not {in_words(data)}"
        raise SpecError([document.problem(path, said)])
    if str(data.get("kind")).endswith("List") and isinstance(data.get("items"), list):
        for index, item in enumerate(data["items"]):
            yield from _objects(document, item, (*path, "items", index), are_all)
        return
    for field in ("apiVersion", "kind"):
        if not isinstance(data.get(field), str):
            said = f"needs a text `{field}`, by which its kind is recognised"
            raise SpecError([document.problem((*path, field), said)])
    yield Manifest(document, data, path)


def _refuse_template(name: str, content: bytes) -> None:
    """Raise SpecError where a file holds a template of Helm: outside of comments and of quotes."""
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = _KSERVE.sub("", line.partition(" #")[0]).strip()
        before = text.partition(_TEMPLATE)[0]
        if _TEMPLATE in text and not text.startswith("#") and not _is_quoted(before):
            said = (
                "a template, such as of Helm; import the manifests that it makes, such as what "
                "`helm template` prints"
            )
            raise SpecError([Problem((), said, Position(number, line.index(_TEMPLATE) + 1), name)])


def _is_quoted(before: str) -> bool:
    return before.count('"') % 2 == 1 or before.count("'") % 2 == 1
