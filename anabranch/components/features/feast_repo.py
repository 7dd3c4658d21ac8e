"""Features of a Feast repository: its online store now, its offline store for the past.

The repository is a folder of the bundle with a ``feature_store.yaml``, in which Feast replaces
``${NAME}`` by variables, such as a node's secrets. See https://docs.feast.dev.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.components.features.keys import Key
from anabranch.components.features.stores import StoredRow, StoredRows, StoreOptions
from anabranch.components.features.threads import ThreadedStore
from anabranch.components.source.classes import inside
from anabranch.errors import Unavailable

T = TypeVar("T")

_TIME = "event_timestamp"
_AWAY = ("ConnectionError", "OperationalError", "TimeoutError", "InterfaceError")
"""Names of errors of the libraries below Feast, which say that a store is away."""


class FeastStore(ThreadedStore):
    """Feature views by ``view:feature``; the inputs of the node are join keys of their entities."""

    def __init__(self, options: StoreOptions) -> None:
        feast = require("feast", "feast")
        place = options.url.partition("://")[2].strip("/")
        folder = inside(f"{place}/feature_store.yaml", options.root).parent
        self._entities, self._refs = options.entities, list(options.refs)
        self._names = [ref.replace(":", "__") for ref in options.refs]
        super().__init__(options.node)
        self._make: Callable[[], Any] = lambda: feast.FeatureStore(repo_path=str(folder))
        self._made: Any = None

    @property
    def _store(self) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made

    def _open(self) -> None:
        for ref in self._refs:
            view, _, feature = ref.partition(":")
            known = {each.name: each for each in self._store.list_all_feature_views()}
            if view not in known:
                raise CannotLoad(f"Feast has no view {view!r} (available: {', '.join(known)})")
            features = [each.name for each in known[view].features]
            if feature not in features:
                raise CannotLoad(
                    f"view {view!r} has no feature {feature!r} (available: {', '.join(features)})"
                )

    def _fetch(self, keys: Sequence[Key]) -> StoredRows:
        rows = [dict(zip(self._entities, key, strict=True)) for key in keys]
        answer = self._store.get_online_features(
            features=self._refs, entity_rows=rows, full_feature_names=True
        )
        return self._online(answer.to_dict(include_event_timestamps=True), len(keys))

    def _online(self, columns: Mapping[str, Sequence[Any]], count: int) -> StoredRows:
        return [
            _stored(
                [columns[name][row] for name in self._names],
                [columns[f"{name}__ts"][row] for name in self._names],
            )
            for row in range(count)
        ]

    def _as_of(self, keys: Sequence[Key], times: Sequence[float]) -> StoredRows:
        """Join by the offline store, which holds views to their ``ttl``."""
        pandas = require("pandas", "feast")
        asked = pandas.DataFrame(keys, columns=list(self._entities))
        asked[_TIME] = [datetime.fromtimestamp(time, UTC) for time in times]
        # The join may change the order of rows, and drop those that are there twice.
        asked["place_"] = range(len(keys))
        answer = self._store.get_historical_features(
            entity_df=asked, features=self._refs, full_feature_names=True
        ).to_df()
        found: StoredRows = [None] * len(keys)
        for place, *values in answer[["place_", *self._names]].itertuples(index=False):
            found[int(place)] = _stored([_there(value) for value in values], [])
        return found

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__name__ not in _AWAY:
                raise
            text = " ".join(str(error).split())[:300]
            raise Unavailable(f"Feast's store does not answer: {text}") from None


def _stored(values: Sequence[Any], times: Sequence[float]) -> StoredRow | None:
    """Return a row, as old as its oldest value; None where it has no value."""
    if all(value is None for value in values):
        return None
    known = [
        time for value, time in zip(values, times, strict=False) if value is not None and time > 0
    ]
    return StoredRow(tuple(values), min(known, default=None))


def _there(value: Any) -> Any:
    """Return a value of a frame; None where pandas says that there is none."""
    is_nothing = value is None or (isinstance(value, float) and math.isnan(value))
    return None if is_nothing or type(value).__name__ in ("NAType", "NaTType") else value
