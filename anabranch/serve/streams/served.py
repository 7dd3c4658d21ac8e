"""What all connections of one server share: the methods, the calls under way, and each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from anabranch.errors import EngineError
from anabranch.serve.streams.limits import CallLimits
from anabranch.specs.excerpts import listing

Method: TypeAlias = Callable[..., Awaitable[object]]
StreamMethod: TypeAlias = Callable[..., AsyncGenerator[object, None]]
T = TypeVar("T")


@dataclass(eq=False, repr=False)
class ServedCalls:
    """The methods of a replica by name, the limits of its connections, and its calls."""

    _methods: Mapping[str, Method]
    _streams: Mapping[str, StreamMethod]
    secret: bytes
    limits: CallLimits

    def __post_init__(self) -> None:
        self.under_way = 0
        self.is_closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    def method(self, name: str) -> Method:
        """Return a method that answers once. Raises EngineError where there is none."""
        return _named(self._methods, name)

    def stream(self, name: str) -> StreamMethod:
        """Return a method that streams. Raises EngineError where there is none."""
        return _named(self._streams, name)

    def keep(self, task: asyncio.Task[None]) -> None:
        """Keep the task of a call until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def all_done(self, seconds: float) -> None:
        """Wait until no task is left, for so many seconds at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)


class Endable(Protocol):
    """A connection, as its server ends it."""

    def go_away(self) -> None:
        """Tell the caller to make no further calls, and to close once it has its answers."""

    def abort(self) -> None:
        """Close the connection now."""


class CallSessions:
    """The connections that there are."""

    def __init__(self) -> None:
        self._open: set[Endable] = set()
        self.none_left = asyncio.Event()
        self.none_left.set()

    def add(self, session: Endable) -> None:
        """Note a connection that has begun."""
        self._open.add(session)
        self.none_left.clear()

    def discard(self, session: Endable) -> None:
        """Forget one that has ended, if it had begun."""
        self._open.discard(session)
        if not self._open:
            self.none_left.set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def __iter__(self) -> Iterator[Endable]:
        """Those of now, while others begin and end."""
        return iter(tuple(self._open))


def _named(methods: Mapping[str, T], name: str) -> T:
    if name not in methods:
        raise EngineError(f"a replica has no method {name!r} (it has: {listing(methods)})")
    return methods[name]
