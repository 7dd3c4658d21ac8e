"""Features in Redis: a hash for each entity, all hashes of a call in one pipeline.

Commands: HMGET of https://redis.io/docs/latest/commands/hmget/.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.components.features.keys import Key
from anabranch.components.features.stores import StoredRow, StoredRows, StoreOptions
from anabranch.components.features.values import unix_seconds
from anabranch.errors import InvalidRequest, Unavailable
from anabranch.specs.excerpts import hint

CONNECTIONS = 32
"""Most connections of one store."""


class RedisHashes:
    """Hashes whose keys are made of a template, such as ``user:{user_id}``."""

    def __init__(self, options: StoreOptions) -> None:
        self._redis = require("redis", "redis")
        self._template = _template(options)
        self._entities = options.entities
        self._timestamp = options.timestamp
        self._fields = [*options.refs, *filter(None, [options.timestamp])]
        self._client = _client(options)

    async def open(self) -> None:
        """Ask whether the server is there; CannotLoad where it refuses the credentials."""
        try:
            await self._client.ping()
        except self._redis.AuthenticationError as error:
            raise CannotLoad(f"Redis refuses the credentials: {error}") from None
        except (self._redis.ConnectionError, self._redis.TimeoutError, OSError) as error:
            raise _away(error) from None

    async def fetch(self, keys: Sequence[Key]) -> StoredRows:
        """Return the hashes of entities; None for those without any of the fields."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            name = self._template.format(**dict(zip(self._entities, key, strict=True)))
            pipeline.hmget(name, self._fields)
        try:
            return [self._row(found) for found in await pipeline.execute()]
        except self._redis.AuthenticationError:
            raise
        except (self._redis.ConnectionError, self._redis.TimeoutError, OSError) as error:
            raise _away(error) from None

    def _row(self, found: Sequence[bytes | None]) -> StoredRow | None:
        *values, at = found if self._timestamp is not None else (*found, None)
        if all(value is None for value in values):
            return None
        return StoredRow(tuple(values), None if at is None else unix_seconds(at))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _client(options: StoreOptions) -> Any:
    """Return a client with bounded connections, which tries once more where one was closed."""
    connections = require("redis.asyncio", "redis")
    retry = require("redis.asyncio.retry", "redis").Retry(
        require("redis.backoff", "redis").NoBackoff(), 1
    )
    try:
        pool = connections.BlockingConnectionPool.from_url(
            options.url,
            max_connections=CONNECTIONS,
            timeout=options.seconds,
            socket_connect_timeout=options.seconds,
            socket_timeout=options.seconds,
            retry=retry,
        )
    except ValueError as error:
        raise CannotLoad(f"the URL of Redis cannot be read: {error}") from None
    return connections.Redis.from_pool(pool)


def _away(error: Exception) -> Unavailable:
    return Unavailable(f"Redis does not answer: {' '.join(str(error).split())[:300]}")


def _template(options: StoreOptions) -> str:
    found = template_problem(str(options.key), options.entities)
    if found is not None:
        raise CannotLoad(found)
    return str(options.key)


def template_problem(template: str, entities: Sequence[str]) -> str | None:
    """Return what is wrong with a template of keys; None where nothing is."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        return f"{template!r} is no template: {error}"
    names = [name for _, name, _, _ in parts if name is not None]
    if any(spec or conversion for _, _, spec, conversion in parts):
        return f"{template!r} has a format; write names of inputs alone, such as {{user_id}}"
    for name in names:
        if name not in entities:
            return f"there is no input {name!r}{hint(name, entities)}"
    left_out = [name for name in entities if name not in names]
    if left_out:
        return f"the key has no {{{left_out[0]}}}"
    if any(not text for text, _ in _inputs(template)[1:]):
        return (
            f"{template!r} has nothing between two inputs, so entities with different values "
            "would have one key; write a text that no value has, such as `:`"
        )
    return None


class KeyCheck:
    """Refuses entities whose hash could be that of others, by a template without problems.

    A value ends where the text after it in the template begins, which it thus must not have. What
    stands last may have any text.
    """

    def __init__(self, template: str, entities: Sequence[str]) -> None:
        self._ends = [
            (name, entities.index(name), end) for (_, name), (end, _) in pairwise(_inputs(template))
        ]

    def __call__(self, keys: Sequence[Key]) -> None:
        """Raise InvalidRequest for the first key that could be that of another entity."""
        for key in keys:
            for name, place, end in self._ends:
                value = str(key[place])
                if (value + end).index(end) < len(value):
                    raise InvalidRequest(
                        f"entity key {name!r}: {value!r:.80} has {end!r}, where its part of the "
                        "store's key ends, so that key could be another entity's"
                    )


def _inputs(template: str) -> list[tuple[str, str]]:
    """Return the text before each input, and the input's name."""
    found, text = [], ""
    for literal, name, _, _ in string.Formatter().parse(template):
        text += literal
        if name is not None:
            found.append((text, name))
            text = ""
    return found
