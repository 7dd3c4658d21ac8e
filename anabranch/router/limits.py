"""Limits of a request, checked before its memory is taken.

What a request decodes to is bounded, and so is what all large requests hold together; small ones
are bounded by their number.

Bodies that are still on their way hold none of the places in progress, or clients who send slowly
would keep others out; they are bounded by what they hold together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from anabranch.errors import Unavailable

T = TypeVar("T")

LARGE = 64 * 2**10
"""Bytes from which on a body is looked at before it is decoded, and not on the event loop."""
ELEMENT = 64
"""Bytes that an element of BYTES counts beside its text: Python's object, and the way to it."""
NUMBER = 8
"""Bytes that the value of a parameter counts which is no text."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits on requests; sizes in bytes, times in seconds."""

    max_body: int = 64 * 2**20
    max_headers: int = 64 * 2**10
    """Names and values of all headers together."""
    max_tensors: int = 256
    """Tensors in one request."""
    max_rank: int = 16
    """Dimensions of a tensor, and so the depth of its JSON."""
    max_elements: int = 2**24
    """Elements of all tensors of a request, and the size of any of their dimensions."""
    max_decoded: int = 256 * 2**20
    """Bytes of all tensors of a request in memory; ``ELEMENT`` for each element of BYTES, beside
    its text, which is a part of the body."""
    max_parameters: int = 1024
    """Parameters of a request, with those of its inputs and outputs."""
    max_parameter_bytes: int = 256 * 2**10
    """Bytes of the names and values of these parameters; ``NUMBER`` for a value that is no text."""
    max_output: int = 64 * 2**20
    """Bytes of all outputs of an answer as raw tensors; of a stream, in one of its answers."""
    max_ongoing: int = 256
    """Requests in progress, from the last byte of the body to the reply; at most three quarters of
    them at revisions other than the stable one, so that one that hangs leaves it some."""
    body_timeout: float = 30.0
    """Time that a client may take to send the body."""
    body_grace: float = 6.0
    """Time after which a body must have come at ``body_rate`` at least, and longest pause in it."""
    body_rate: int = 64 * 2**10
    """Slowest that a body may come after that, in bytes a second."""
    max_arriving: int = 512 * 2**20
    """Bytes of all bodies together that have not arrived as a whole yet; of those from one address,
    half of that."""
    max_under_way: int = 2**30
    """Bytes that the large requests of one graph hold in one process, from the last byte of a body
    until the reply has been sent: bodies, as they came and unpacked, tensors, replies."""
    max_process: int = 2 * 2**30
    """Likewise of all graphs in one process."""
    max_mirrors: int = 64
    """Copies on their way to mirrors, of one router."""
    max_mirror_bytes: int = 16 * 2**20
    """Bytes of copies for mirrors: tensors and parameters, also while requests are evaluated."""
    max_samples: int = 8
    """Samples of the traffic on their way to explainers, of one router."""
    max_sample_bytes: int = 16 * 2**20
    """Bytes of samples: tensors and parameters, also while their requests are evaluated."""

    @classmethod
    def for_body(cls, size: int) -> RequestLimits:
        """Return the limits of an engine that takes bodies of ``size`` bytes.

        What a body becomes is bounded in proportion, never below the limits of the usual size.
        """
        times = max(1.0, size / (64 * 2**20))
        return cls(
            max_body=size,
            max_elements=int(times * 2**24),
            max_decoded=int(times * 256 * 2**20),
            max_output=int(times * 64 * 2**20),
            max_arriving=int(times * 512 * 2**20),
            max_under_way=int(times * 2**30),
            max_process=int(times * 2 * 2**30),
        )


class ConcurrencyLimit:
    """Lets at most ``limit`` through at a time: ``with gate: ...`` raises Unavailable beyond.

    ``whose`` says in the error who takes no more.
    """

    __slots__ = ("__weakref__", "_limit", "_whose", "inside", "passed")

    def __init__(self, limit: int, whose: str = "this replica takes") -> None:
        self._limit = limit
        self._whose = whose
        self.inside = 0
        """How many are inside."""
        self.passed = 0
        """How many were ever let in."""

    def check(self) -> None:
        """Raise Unavailable if there is no place left."""
        if self.inside >= self._limit:
            raise Unavailable(
                f"{self.inside} requests are in progress, the most that {self._whose}; "
                "try again later"
            )

    def __enter__(self) -> None:
        self.check()
        self.inside += 1
        self.passed += 1

    def __exit__(self, *_: object) -> None:
        self.inside -= 1


class Arriving:
    """The bytes of bodies that are still arriving in one process, at most ``limit``.

    Those from one address, where it is known, are at most half of that.
    """

    __slots__ = ("_limit", "_of", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._of: dict[str, int] = {}
        self.held = 0

    def add(self, size: int, address: str = "") -> None:
        """Note ``size`` bytes more; raise Unavailable beyond a limit."""
        own = self._of.get(address, 0)
        self._check(self.held, size, self._limit, "are on their way")
        if address:
            self._check(own, size, self._limit // 2, "are on their way from this address")
        self.held += size
        self._of[address] = own + size

    def remove(self, size: int, address: str = "") -> None:
        """Note that ``size`` bytes are there as a whole, or will not come."""
        self.held -= size
        left = self._of.pop(address, 0) - size
        if left:
            self._of[address] = left

    @staticmethod
    def _check(held: int, size: int, limit: int, which: str) -> None:
        if held + size > limit:
            raise Unavailable(
                f"bodies that {which} hold {held} bytes, close to the limit of {limit}; "
                "try again later"
            )


class BytesUnderWay:
    """The bytes that large requests hold, at most ``limit``; they count in ``within``, too.

    ``whose`` says in the error who takes no more.
    """

    __slots__ = ("__weakref__", "_limit", "_whose", "_within", "held")

    def __init__(self, limit: int, whose: str, within: BytesUnderWay | None = None) -> None:
        self._limit = limit
        self._whose = whose
        self._within = within
        self.held = 0

    def add(self, size: int) -> None:
        """Note ``size`` bytes more; raise Unavailable beyond the limit."""
        if self.held + size > self._limit:
            raise Unavailable(
                f"large requests hold {self.held} bytes, and {size} more would be over the limit "
                f"of {self._limit} bytes of {self._whose}; try again later"
            )
        if self._within is not None:
            self._within.add(size)
        self.held += size

    def remove(self, size: int) -> None:
        """Note that ``size`` bytes are held no more."""
        self.held -= size
        if self._within is not None:
            self._within.remove(size)


class HeldBytes:
    """The bytes that one request holds, until ``release`` or the end of a ``with``."""

    __slots__ = ("_size", "_under_way")

    def __init__(self, under_way: BytesUnderWay) -> None:
        self._under_way = under_way
        self._size = 0

    def add(self, size: int) -> None:
        """Hold ``size`` bytes more; raise Unavailable beyond the limit."""
        self._under_way.add(size)
        self._size += size

    def set(self, size: int) -> None:
        """Hold ``size`` bytes in all; raise Unavailable where that would be too many more."""
        if size > self._size:
            self.add(size - self._size)
        else:
            self._under_way.remove(self._size - size)
            self._size = size

    def split(self, size: int) -> HeldBytes:
        """Return ``size`` of these bytes, to be released by themselves."""
        found = HeldBytes(self._under_way)
        self._size -= size
        found._size = size
        return found

    def __enter__(self) -> HeldBytes:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Hold nothing any more."""
        self._under_way.remove(self._size)
        self._size = 0


class ByAddress(Generic[T]):
    """A limit for each address of clients, made by ``make`` and there while it is in use."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._known: WeakValueDictionary[str, T] = WeakValueDictionary()

    def of(self, address: str) -> T:
        """Return the limit of an address; all whose address is not known have one together."""
        found = self._known.get(address)
        if found is None:
            found = self._known[address] = self._make()
        return found
