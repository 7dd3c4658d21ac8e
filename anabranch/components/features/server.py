"""Features of a server on the network that answers as Feast's feature server.

A call posts ``{"features": ["view:feature"], "entities": {"user_id": [1, 2]}, "full_feature_names":
true}`` and gets ``{"metadata": {"feature_names": […]}, "results": [{"values": […], "statuses": […],
"event_timestamps": […]}, …]}``, a result for each name. Statuses and times may be left out.
Source: https://docs.feast.dev/reference/feature-servers/python-feature-server.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from anabranch.components.contract import CannotLoad, Context
from anabranch.components.features.keys import Key
from anabranch.components.features.stores import StoredRow, StoredRows, StoreOptions
from anabranch.components.features.values import unix_seconds
from anabranch.components.runtimes.open_inference.addresses import is_url
from anabranch.components.runtimes.open_inference.server import RemoteServer
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.specs.excerpts import listing

PRESENT = "PRESENT"
"""Status of a value that counts."""


class _Metadata(msgspec.Struct):
    feature_names: list[str] | dict[str, list[str]]
    """A list, or the form of Protocol Buffers: ``{"val": […]}``."""


class _Result(msgspec.Struct):
    values: list[Any]
    statuses: list[str] = []
    event_timestamps: list[str | float | None] = []


class _Answer(msgspec.Struct):
    metadata: _Metadata
    results: list[_Result]


_decode = msgspec.json.Decoder(_Answer).decode


class FeatureServer:
    """A URL that is posted to as it is written, such as ``https://host/get-online-features``."""

    def __init__(self, options: StoreOptions) -> None:
        if not is_url(options.url, is_whole=True):
            raise CannotLoad("write the URL as http(s)://host[:port][/path][?query]")
        self._entities, self._refs = options.entities, options.refs
        self._seconds = options.seconds
        name = f"the feature server of node {options.node!r}"
        self._server = RemoteServer(options.url, name)
        self._headers = {"content-type": "application/json"}
        if options.token is not None:
            self._headers["authorization"] = f"Bearer {options.token}"

    async def open(self) -> None:
        """Return at once: a server shows by an entity only what it has."""

    async def fetch(self, keys: Sequence[Key]) -> StoredRows:
        """Return the features of entities; BadAnswer for an answer that is none."""
        columns = zip(*keys, strict=True)
        body = {
            "features": list(self._refs),
            "entities": dict(zip(self._entities, map(list, columns), strict=True)),
            "full_feature_names": True,
        }
        context = Context(deadline=time.monotonic() + self._seconds)
        _, answer = await self._server.post("", orjson.dumps(body), self._headers, context)
        return self._rows(answer, len(keys))

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _rows(self, body: bytes, count: int) -> StoredRows:
        try:
            answer = _decode(body)
        except msgspec.MsgspecError as error:
            raise BadAnswer(
                f"{self._server} gives no answer of a feature server: {error}"
            ) from None
        named = _by_name(answer)
        results = [self._result(named, ref, count) for ref in self._refs]
        return [_row(results, row) for row in range(count)]

    def _result(self, named: Mapping[str, _Result], ref: str, count: int) -> _Result:
        for name in (ref.replace(":", "__"), ref, ref.rpartition(":")[2]):
            if name in named:
                if len(named[name].values) != count:
                    size = len(named[name].values)
                    raise BadAnswer(f"{self._server} gives {size} values of {ref!r}, not {count}")
                return named[name]
        raise BadAnswer(f"{self._server} gives no {ref!r} (it gives: {listing(sorted(named))})")


def _by_name(answer: _Answer) -> dict[str, _Result]:
    names = answer.metadata.feature_names
    listed = names.get("val", []) if isinstance(names, dict) else names
    return dict(zip(listed, answer.results, strict=False))


def _row(results: Sequence[_Result], row: int) -> StoredRow | None:
    """Return a row, as old as its oldest value; None where it has no value."""
    there = [each for each in results if _value(each, row) is not None]
    if not there:
        return None
    times = [each.event_timestamps[row] for each in there if row < len(each.event_timestamps)]
    known = [unix_seconds(time) for time in times if time]
    # Feast gives 1970 for a time that it does not know.
    at = min((time for time in known if time > 0), default=None)
    return StoredRow(tuple(_value(each, row) for each in results), at)


def _value(result: _Result, row: int) -> Any:
    status = result.statuses[row] if row < len(result.statuses) else PRESENT
    return result.values[row] if status == PRESENT else None
