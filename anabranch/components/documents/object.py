"""The combiner ``object``: several documents in, one JSON object out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import orjson

from anabranch.components.combiners import no_quorum
from anabranch.components.contract import DEFAULT_OUTPUT
from anabranch.components.documents.tensors import (
    DOCUMENT,
    check_document,
    document_of,
    to_document,
)
from anabranch.components.registry import register
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import Combiner


@register("combiner", "object")
class JsonObject:
    """Joins JSON documents into one object, each under the name of its parameter.

    Takes a map of documents, tensors BYTES[1], each any JSON value; gives the object, BYTES[1], in
    their order. The documents are taken as they are written. One that is no JSON raises ValueError.

    Args:
        keys: Key of a parameter in the object, where that is not its name.
    """

    def __init__(self, node: Combiner, *, keys: dict[str, str] | None = None) -> None:
        self._keys = [(keys or {}).get(name, name) for name in node.inputs]

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the type of the object; TypeConflict for an input that is no document."""
        for name, spec in inputs.items():
            check_document(name, spec)
        return {DEFAULT_OUTPUT: DOCUMENT}

    @staticmethod
    def check(node: Combiner) -> Iterable[Mistake]:
        """Find inputs without names, a quorum, and keys of no input or of several."""
        if not isinstance(node.inputs, dict):
            yield ("inputs",), "the strategy 'object' needs a map of inputs, whose names are keys"
            return
        yield from no_quorum(node)
        keys = cast(dict[str, str], node.args.get("keys") or {})
        for name in keys:
            if name not in node.inputs:
                there = hint(name, node.inputs)
                yield ("args", "keys", name), f"the node has no such input{there}"
        taken = [keys.get(name, name) for name in node.inputs]
        for key in sorted({key for key in taken if taken.count(key) > 1}):
            yield ("args", "keys"), f"the key {shown(key)} stands for several inputs"

    def combine(self, inputs: Sequence[Array]) -> Array:
        """Return the object of all documents."""
        pairs = zip(self._keys, inputs, strict=True)
        return to_document(orjson.dumps({key: _fragment(key, array) for key, array in pairs}))


def _fragment(key: str, array: Array) -> orjson.Fragment:
    text = document_of(array, key)
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{shown(key)} is no JSON document: {error}") from None
    return orjson.Fragment(text)
