"""Replies of a graph: its outputs as arrays, and what is known of how they came about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import to_datatype

Json = dict[str, Any]
_SHOWN = 6
"""Most elements at either end of a dimension that ``repr`` shows."""


@dataclass(frozen=True, repr=False, eq=False)
class InferenceReply(Mapping[str, Array]):
    """The reply to an inference request: a mapping from each output's name to its array.

    Arrays have the output's datatype and shape; BYTES are arrays of ``str``, or of ``bytes`` where
    an element is no UTF-8.
    """

    graph: str
    revision: int
    """Revision that answered."""
    id: str
    """Id of the request, for rewards, logs and traces."""
    outputs: Mapping[str, Array]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the reply."""

    @property
    def routing(self) -> str | None:
        """Decisions of routers and traffic about the request, for ``feedback``; None without."""
        found: str | None = self.parameters.get("routing")
        return found

    @property
    def explanation(self) -> Json | None:
        """The explanation that came beside the outputs, as the reply of ``explain``; None without.

        The parameter ``explanation_error`` gives the reason if one was asked for and did not come.
        """
        text = self.parameters.get("explanation")
        return None if text is None else json.loads(text)

    __eq__ = object.__eq__  # two replies are never the same, and their arrays have no truth value
    __hash__ = object.__hash__

    def __getitem__(self, output: str) -> Array:
        return self.outputs[output]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def __repr__(self) -> str:
        head = f"InferenceReply(graph={self.graph!r}, revision={self.revision}, id={self.id!r})"
        return "\n".join([head, *(_output_text(name, self[name]) for name in self)])


def _output_text(name: str, array: Array) -> str:
    shown = np.array2string(
        array, threshold=4 * _SHOWN, edgeitems=_SHOWN // 2, separator=", ", prefix="    "
    )
    return f"  {name} {to_datatype(array.dtype)}{list(array.shape)}\n    {shown}"
