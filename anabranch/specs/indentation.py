"""Finds what a wrong indentation has put in the wrong place, in a file that is valid YAML.

Such a mistake brings several others that make no sense to its author: a node without its fields,
and nodes that are called ``type`` and ``component``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any

from anabranch.errors import FieldPath, Mistake
from anabranch.specs.excerpts import quoted, quoted_all
from anabranch.specs.loader import Document
from anabranch.specs.messages import fields_at
from anabranch.specs.models import InferenceGraph

_MOST_NAMED = 6


def misplaced(document: Document, mistakes: Iterable[FieldPath]) -> list[Mistake]:
    """Return the fields that stand where they do by their indentation, and how to mend that.

    ``mistakes`` are the paths of all that is wrong with the document.
    """
    paths = [path for path in dict.fromkeys(mistakes) if path]
    wrong = {path[:length] for path in paths for length in range(1, len(path) + 1)}
    found: list[Mistake] = []
    for path in paths:
        parent = _map_at(document.data, path[:-1])
        if path[-1] not in parent:
            found += _too_deep(document, wrong, parent, path)
        elif parent[path[-1]] is None:
            found += _beside(document, wrong, list(parent), path)
        elif (empty := _optional_before(parent, path)) is not None:
            found += _beside(document, wrong, list(parent), empty)
    return list(dict.fromkeys(found))


def _beside(
    document: Document, wrong: set[FieldPath], names: list[Any], path: FieldPath
) -> Iterator[Mistake]:
    """Yield an empty field, where what should be in it follows in the same column."""
    *before, name = path
    after = names[names.index(name) + 1 :]
    inner = list(takewhile(lambda one: (*before, one) in wrong, after))
    above = document.position(path)
    places = [document.position((*before, one)) for one in inner]
    if inner and all(one.line > above.line and one.column == above.column for one in places):
        if len(inner) == 1:
            yield path, f"is empty: {quoted(str(inner[0]))} belongs under it; indent that deeper"
            return
        fields = quoted_all(inner) if len(inner) <= _MOST_NAMED else f"{len(inner)} fields"
        yield path, f"is empty: {fields} below it begin in the same column; indent them deeper"


def _optional_before(parent: Mapping[Any, Any], path: FieldPath) -> FieldPath | None:
    """Return the empty field before an unknown one that knows it, such as ``resources`` for cpu."""
    *before, name = path
    names = list(parent)
    for other in reversed(names[: names.index(name)]):
        if parent[other] is None:
            empty = (*before, other)
            return empty if name in fields_at(InferenceGraph, empty) else None
    return None


def _too_deep(
    document: Document, wrong: set[FieldPath], parent: Mapping[Any, Any], path: FieldPath
) -> Iterator[Mistake]:
    """Yield a required field that stands in one of its neighbours instead."""
    *before, name = path
    for neighbour, inner in parent.items():
        found = (*before, neighbour, name)
        if found not in wrong or not isinstance(inner, Mapping) or name not in inner:
            continue
        if document.position(found).line > document.position((*before, neighbour)).line:
            where = quoted(str(neighbour))
            yield found, f"is indented so that it is a part of {where}; begin it in its column"


def _map_at(data: Any, path: Iterable[str | int]) -> Mapping[Any, Any]:
    """Return the map at a path; an empty one if something else is there."""
    for part in path:
        try:
            data = data[part]
        except (LookupError, TypeError):
            return {}
    return data if isinstance(data, Mapping) else {}
