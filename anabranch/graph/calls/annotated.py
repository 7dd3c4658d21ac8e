"""The answer of a segment in another process, with the annotations that its nodes have added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from anabranch.components.annotations import Annotations
from anabranch.components.contract import Context


@dataclass(frozen=True, slots=True)
class AnnotatedValue:
    """A value that crosses with annotations; one without any crosses as it is."""

    value: Any
    annotations: Annotations


Annotate: TypeAlias = Callable[[Any], Any]


def annotator(context: Context, is_kept: bool = False) -> Annotate:
    """Return the function that adds to a value what nodes add to the annotations from now on.

    With a value that ``is_kept``, caches do not tell how they have handled this request, and what
    its log gets is not told either.
    """
    annotations = context.annotations
    tags, names = annotations.tags.copy(), annotations.names.copy()

    def annotate(value: Any) -> Any:
        if not annotations:
            return value
        added = annotations.since(tags, names)
        if is_kept:
            added.caches, added.values = {}, None
        return AnnotatedValue(value, added) if added else value

    return annotate


def taken(found: Any, context: Context) -> Any:
    """Return the value of an answer; its annotations go to those of the request."""
    if type(found) is not AnnotatedValue:
        return found
    context.annotations.merge(found.annotations)
    return found.value
