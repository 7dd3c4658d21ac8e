"""The transformer ``lookup``: features of entities, from a feature store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from anabranch.components.arguments import AtLeastOne
from anabranch.components.contract import Context
from anabranch.components.features.cache import (
    CallOutcome,
    FeatureCache,
    FoundRow,
    Rows,
)
from anabranch.components.features.keys import Key, check_keys, keys_of
from anabranch.components.features.kinds import open_store
from anabranch.components.features.options import (
    PART,
    limits_of,
    problems_of,
    reader_of,
    seconds_for,
    store_options,
)
from anabranch.components.features.redis_hashes import KeyCheck
from anabranch.components.features.tally import LookupTally
from anabranch.components.registry import register
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import AnabranchError, Mistake, Unavailable
from anabranch.specs.models import Transformer
from anabranch.specs.units import Duration
from anabranch.telemetry.logs import REQUESTS
from anabranch.telemetry.registry import Registry

logger = logging.getLogger("anabranch.components")


@register("transformer", "lookup")
class Lookup:
    """Looks up features of entities in Redis, a SQL database, Feast, or a feature server.

    Each input is a part of the entity's key, BYTES or whole numbers, [rows] or [rows, 1]; its name
    is that of a key column (SQL), of a join key (Feast, feature servers), or stands in ``key``
    (Redis). Each output is a feature and needs a declared type: [-1], or [-1, size] for lists of
    one size. All rows of a request, or of a batch, are one call of the store, without keys that
    are in the cache, or on their way for another request. The node waits for the store for nine
    tenths of its ``timeout`` (1s if left out), and of what the request has left.

    Args:
        store: URL of the store: `redis://`, `rediss://` or `unix://`; `postgresql://`, `sqlite:///`
            or another database of SQLAlchemy; `feast://` and the folder of `feature_store.yaml` in
            the bundle; `http(s)://` of a feature server. Or `env:NAME`, a variable of `secrets` or
            `env` that holds the URL.
        features: Name of each output, and the feature that it is: a field of a hash, a column, or
            `view:feature`.
        key: Key of an entity's hash in Redis, such as `user:{user_id}`.
        table: Table or view in SQL, with its schema if needed: `schema.table`.
        timestamp: Column or field of the time of a row; of several rows of an entity the latest
            counts.
        defaults: Values of outputs for entities without one, and while the store is away.
        missing: Without a default, a missing value lets the node `fail`, or its output be `absent`.
        unavailable: While the store is away, rows have the `default` values, or the node is to
            `fail`.
        ttl: Age of a value, by its time in the store, from which it counts as missing.
        max_age: Time for which a row is used again without asking the store; none if left out.
        max_stale: Time for which a row is used while the store is away; none if left out.
        max_keys: Most rows in memory.
        token: Variable of `secrets` or `env` with a bearer token for a feature server.
        offline: Store of the past, if `store` is none, as `store`, `table` and `timestamp`; for
            `anabranch features`.
    """

    partial = True
    """It may leave out outputs."""

    is_deterministic = False

    def __init__(
        self,
        node: Transformer,
        root: Path,
        node_name: str,
        *,
        store: str,
        features: dict[str, str],
        key: str | None = None,
        table: str | None = None,
        timestamp: str | None = None,
        defaults: dict[str, Any] | None = None,
        missing: Literal["fail", "absent"] = "fail",
        unavailable: Literal["default", "fail"] = "default",
        ttl: Duration | None = None,
        max_age: Duration | None = None,
        max_stale: Duration | None = None,
        max_keys: AtLeastOne = 100_000,
        token: str | None = None,
        offline: dict[str, str] | None = None,
    ) -> None:
        self._node = node_name
        self._fails = unavailable == "fail"
        self._reader = reader_of(node, node_name)
        self._store = open_store(store_options(node, node_name, root))
        self._check = None if key is None else KeyCheck(key, tuple(node.inputs))
        self._seconds = seconds_for(node)
        self._cache = FeatureCache(self._fetch, limits_of(node), self._counted)
        self._tally: LookupTally | None = None

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the names of the outputs; TypeConflict for inputs that are no entity keys."""
        check_keys(inputs)
        return dict.fromkeys(args["features"])

    @staticmethod
    def check(node: Transformer) -> Iterable[Mistake]:
        """Find what is wrong without asking the store."""
        return problems_of(node)

    def count_into(self, registry: Registry, labels: tuple[str, str, str]) -> None:
        """Count in cells with these labels (graph, revision, node) from now on."""
        self._tally = LookupTally(registry, labels)

    async def load(self) -> None:
        """Check the store; one that is away now may come back while the node runs."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._store.open()
        except (Unavailable, TimeoutError) as error:
            reason = str(error) or f"it gave no answer within {self._seconds:.3g}s"
            logger.warning("node %s begins without its feature store: %s", self._node, reason)

    async def unload(self) -> None:
        """Close the connections."""
        await self._cache.close()
        await self._store.close()

    async def transform(self, /, **inputs: Array) -> dict[str, Array]:
        """Return the features of each row.

        Raises:
            InvalidRequest: inputs are no entity keys, or one could be another entity's in Redis.
            NodeError: a value is missing, or does not fit its output.
            Unavailable: the store is away, and there are neither stale rows nor defaults.
            DeadlineExceeded: likewise, where it did not answer in time.
        """
        keys = keys_of(inputs)
        if self._check is not None:
            self._check(keys)
        found, away = await self._cache.find(keys, self._patience())
        if away is not None:
            self._check_away(keys, found, away)
        now = time.time()
        if self._tally is not None and any(asked.is_traffic for asked in _asked()):
            self._count(self._tally, keys, found, now)
        rows = [found[key].row if key in found else None for key in keys]
        return self._reader.outputs(keys, rows, now)

    async def _fetch(self, keys: Sequence[Key]) -> Rows:
        rows = await self._store.fetch(keys)
        return {key: self._reader.read(key, row) for key, row in zip(keys, rows, strict=True)}

    def _patience(self) -> float:
        """Return how long the requests of this call can wait, in seconds."""
        remaining = [asked.remaining() for asked in _asked()]
        return min([self._seconds, *(PART * each for each in remaining if each is not None)])

    def _check_away(
        self, keys: Sequence[Key], found: dict[Key, FoundRow], away: AnabranchError
    ) -> None:
        """Raise why the store is away, unless every row that is not there has its defaults."""
        if all(key in found for key in keys):
            return
        columns = self._reader.columns
        bare = [one.name for one in columns if one.name not in self._reader.defaults]
        if self._fails or (bare and self._reader.missing == "fail"):
            raise type(away)(f"the feature store of node {self._node!r} is away: {away}")

    def _counted(self, outcome: CallOutcome, seconds: float) -> None:
        if self._tally is not None:
            self._tally.call(outcome, seconds)

    def _count(
        self, tally: LookupTally, keys: Sequence[Key], found: dict[Key, FoundRow], now: float
    ) -> None:
        for key in keys:
            one = found.get(key)
            if one is None:
                tally.row("away")
                continue
            is_there = self._reader.is_there(one.row, now)
            tally.row(one.source if is_there else "missing")
            if is_there and one.row.at is not None:
                tally.age(now - one.row.at)


def _asked() -> tuple[Context, ...]:
    """Return the contexts of the requests that this call is for: of a batch several."""
    return cast("tuple[Context, ...]", REQUESTS.get())
