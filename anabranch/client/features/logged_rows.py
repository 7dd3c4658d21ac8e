"""Rows of a request log: the tensors of each answered request, taken apart by their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Literal, TypeAlias, TypeVar

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import as_text
from anabranch.errors import InvalidRequest
from anabranch.graph.plan.plan import Plan
from anabranch.router.request_log.events import LogEvent
from anabranch.router.request_log.tensors import LoggedTensor, decode_tensor
from anabranch.specs.models import TensorSpec

T = TypeVar("T")

NotARow: TypeAlias = Literal["unreadable", "other", "error", "streamed", "rows"]
"""Why a request has no rows: its line is no event, it is of another graph or time, it was answered
with an error or piece by piece, or its tensors have different numbers of rows."""


@dataclass(frozen=True)
class LogColumn:
    """A tensor of the log, and its type; rows where dimension 0 is -1."""

    name: str
    spec: TensorSpec

    @property
    def has_rows(self) -> bool:
        """Whether each row has an element of its own."""
        return bool(self.spec.shape) and self.spec.shape[0] == -1

    @property
    def rank(self) -> int:
        """Dimensions of an element."""
        return len(self.spec.shape) - self.has_rows


@dataclass(frozen=True)
class RowFilter:
    """The requests that are wanted; times in Unix seconds."""

    graph: str
    since: float = float("-inf")
    until: float = float("inf")

    def takes(self, event: LogEvent) -> bool:
        """Return whether an event is wanted."""
        return (
            event.data.graph == self.graph
            and event.time is not None
            and self.since <= event.time.timestamp() < self.until
        )


@dataclass(frozen=True)
class LoggedRow:
    """A row of a request: its values by column; columns whose data were not logged are left out."""

    id: str
    """The id by which feedback knows the request: its own, or else that of the call."""
    row: int
    time: datetime
    revision: int
    values: Mapping[str, Any] = field(default_factory=dict)


def columns_of(plan: Plan) -> list[LogColumn]:
    """Return the columns of a graph's log: ``input.NAME``, ``node.output``, ``output.NAME``.

    InvalidRequest where the type of an output is not known.
    """
    nodes = {name: plan.type_of(ref) for name, ref in plan.recorded.items()}
    found: dict[str, TensorSpec | None] = {
        **{f"input.{name}": spec.tensor for name, spec in plan.inputs.items()},
        **nodes,
        **{f"output.{name}": spec for name, spec in plan.output_types.items()},
    }
    unknown = [name for name, spec in found.items() if spec is None]
    if unknown:
        raise InvalidRequest(
            f"the type of {unknown[0]!r} is not known: declare the `outputs` of its node"
        )
    return [LogColumn(name, spec) for name, spec in found.items() if spec is not None]


def rows_of(
    event: LogEvent | None, wanted: RowFilter, columns: Iterable[LogColumn]
) -> list[LoggedRow] | NotARow:
    """Return the rows of an event, or the reason why it has none."""
    if event is None:
        return "unreadable"
    if not wanted.takes(event) or event.time is None:
        return "other"
    if event.data.response is None:
        return "error" if event.data.responses is None else "streamed"
    try:
        arrays = {name: decode_tensor(tensor) for name, tensor in _tensors(event)}
    except (InvalidRequest, ValueError):
        return "unreadable"
    known = [column for column in columns if column.name in arrays]
    sizes = {len(arrays[column.name]) for column in known if column.has_rows}
    if len(sizes) > 1:
        return "rows"
    taken = {column.name: _elements(column, arrays[column.name]) for column in known}
    name = event.data.request.id or event.id
    return [
        LoggedRow(name, row, event.time, event.data.revision,
                  {key: found[row % len(found)] for key, found in taken.items()})
        for row in range(sizes.pop() if sizes else 1)
    ]  # fmt: skip


def _tensors(event: LogEvent) -> Iterator[tuple[str, LoggedTensor]]:
    """Yield the tensors whose data were logged, by the names of their columns."""
    response = event.data.response
    outputs = response.outputs if response is not None else []
    every = [
        *((f"input.{tensor.name}", tensor) for tensor in event.data.request.inputs),
        *((tensor.name, tensor) for tensor in event.data.nodes),
        *((f"output.{tensor.name}", tensor) for tensor in outputs),
    ]
    return ((name, tensor) for name, tensor in every if not tensor.is_hidden)


def _elements(column: LogColumn, array: Array) -> list[Any]:
    """Return the element of each row; one alone where all rows have the same."""
    plain = as_text(array) if array.dtype == object else array
    found: list[Any] = plain.tolist() if column.has_rows else [plain.tolist()]
    return found


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield items in lists of at most ``size``."""
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])
