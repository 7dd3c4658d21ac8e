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
        fields = quoted_all(inner) if len(inner) <= _MOST_NAMED else f"{len(inner)} fields"
        begin, them = ("begins", "it") if len(inner) == 1 else ("begin", "them")
        yield path, f"is empty: {fields} below it {begin} in the same column; indent {them} deeper"


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
