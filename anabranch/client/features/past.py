"""Features of the past: what lookups would have found at the time of each logged row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anabranch.client.features.logged_rows import LogColumn, LoggedRow
from anabranch.components import registry
from anabranch.components.contract import CannotLoad
from anabranch.components.features.kinds import past_store
from anabranch.components.features.options import reader_of, store_options
from anabranch.components.features.reading import RowReader
from anabranch.components.features.stores import PastStore
from anabranch.components.features.values import FeatureColumn
from anabranch.components.tensors.texts import as_text
from anabranch.components.variables import set_variables
from anabranch.errors import AnabranchError, InvalidRequest, LoadError, NodeError
from anabranch.graph.plan.plan import Plan, PlannedNode
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Transformer


@dataclass(frozen=True)
class PastLookup:
    """A lookup node, and its store of the past."""

    node: str
    keys: tuple[str, ...]
    """Columns of the log that hold the parts of the key."""
    reader: RowReader
    store: PastStore

    @property
    def columns(self) -> list[LogColumn]:
        """Columns of its outputs."""
        return [LogColumn(f"{self.node}.{one.name}", one.spec) for one in self.reader.columns]

    async def values(self, rows: Sequence[LoggedRow]) -> list[dict[str, Any]]:
        """Return the outputs at the time of each row, by column; None where one is missing.

        InvalidRequest for a row without its key; NodeError for values that do not fit, and where
        the store fails.
        """
        keys = [self._key(row) for row in rows]
        times = [row.time.timestamp() for row in rows]
        with _named(self.node):
            stored = await self.store.as_of(keys, times)
        read = [self.reader.read(key, row) for key, row in zip(keys, stored, strict=True)]
        elements = self.reader.elements(read, times)
        columns = [_rounded(one, elements[one.name]) for one in self.reader.columns]
        names = [one.name for one in self.columns]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _key(self, row: LoggedRow) -> tuple[Any, ...]:
        for name in self.keys:
            if row.values.get(name) is None:
                raise InvalidRequest(
                    f"request {row.id!r} has no {name!r} in the log, a key of node {self.node!r}"
                )
        # A key that is [rows, 1] has a list for each row.
        parts = (row.values[name] for name in self.keys)
        return tuple(part[0] if isinstance(part, list) else part for part in parts)


@contextmanager
def _named(node: str) -> Iterator[None]:
    """Raise what a store lacks, and what its library raises, as an error of its node."""
    try:
        yield
    except CannotLoad as error:
        raise LoadError(node, str(error)) from None
    except AnabranchError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise NodeError(node, f"its feature store: {type(error).__name__}: {text}") from error


@asynccontextmanager
async def opened(past: Sequence[PastLookup]) -> AsyncIterator[None]:
    """Check the stores, and close them at the end.

    LoadError; Unavailable where one is away; NodeError where one fails.
    """
    try:
        for lookup in past:
            with _named(lookup.node):
                await lookup.store.open()
        yield
    finally:
        for lookup in past:
            await lookup.store.close()


def lookups_of(plan: Plan) -> list[PlannedNode]:
    """Return the lookup nodes of a graph; InvalidRequest where it has none."""
    found = [node for node in plan.nodes.values() if registry.builtin_of(node.spec) == "lookup"]
    if not found:
        raise InvalidRequest(f"graph {plan.name!r} has no node with `method: lookup`")
    return found


def open_past(plan: Plan, root: Path, nodes: Iterable[PlannedNode]) -> list[PastLookup]:
    """Open the stores of the past of lookup nodes; LoadError names the node that has none.

    The nodes' variables are set in this process.
    """
    found = []
    for node in nodes:
        assert isinstance(node.spec, Transformer)
        with _named(node.name):
            set_variables(node.spec)
            store = past_store(store_options(node.spec, node.name, root, offline=True))
        keys = tuple(_column(plan, node, name) for name in node.spec.inputs)
        found.append(PastLookup(node.name, keys, reader_of(node.spec, node.name), store))
    return found


def _column(plan: Plan, node: PlannedNode, name: str) -> str:
    """Return the column of the log that holds an input of a node."""
    ref = node.inputs[name]
    if ref.node is None:
        return f"input.{ref.output}"
    known: Mapping[str, Any] = plan.recorded
    names = [one for one in known if known[one].node == ref.node]
    wanted = str(ref) if ref.output is not None else next(iter(names), "")
    if wanted not in known:
        raise InvalidRequest(
            f"key {name!r} of node {node.name!r} comes from {str(ref)!r}, whose values are not in "
            f"the log: name it in `telemetry.requests.nodes` (there: {listing(names or ['none'])})"
        )
    return wanted


def _rounded(column: FeatureColumn, elements: Sequence[Any]) -> list[Any]:
    """Return elements as the output's datatype has them, in Python's own types."""
    array = column.array([element for element in elements if element is not None])
    plain = iter((as_text(array) if array.dtype == object else array).tolist())
    return [None if element is None else next(plain) for element in elements]
