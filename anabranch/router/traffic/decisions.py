"""Decisions of a graph's routers about a request, and their form in a reply.

A reply's parameter ``routing`` holds a decision as JSON, by which a reward finds its way back also
when nobody remembers the request any more::

    {"id": "7f…", "revision": 4, "path": {"chooser": "forest"}, "iat": 1790000000, "kid": "5c…",
     "features": {"chooser": [0.2]}, "signature": "k2…="}

It comes from outside then, so it is read strictly, and refused unless a router of the graph has
signed it. The signature is of all else in it, as ``_encode`` writes that, so spaces and the order
of names are free; ``iat`` and ``kid`` are those of JSON Web Signatures (RFC 7515, RFC 7519).
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from anabranch.components.contract import Choice
from anabranch.errors import InvalidRequest
from anabranch.graph.execute.recovery import STAND_IN
from anabranch.router.inference.contract import OutputTensor
from anabranch.router.signing import Signatures
from anabranch.router.traffic.labels import Answer, answer_of, is_small

ROUTING = "routing"
"""The parameter of a reply."""
MAX_ID = 1024
"""Longest id of a request, in characters."""
MAX_FEATURES = 1024
"""Most features of one choice; a reply tells of none where there are more."""
MAX_MADE = 10_000
"""Decisions that one router remembers, and so most that wait to be told to the controller."""

_Name = Annotated[str, Meta(max_length=63)]
_Features = Annotated[tuple[float, ...], Meta(max_length=MAX_FEATURES)]


class Decision(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The decisions about one request: its routes, and the features that the routers saw.

    One that was read from a reply's ``routing`` has no ``answer``, and features of any length.
    """

    id: str
    """The request's own id, or else the one that the reply's header ``x-request-id`` carries."""
    revision: int
    path: Mapping[str, str]
    """Router to route, or to ``STAND_IN`` where it could not decide."""
    features: Mapping[str, tuple[float, ...]] = {}
    """Of the routers that told of some: finite numbers."""
    answer: Answer | None = None
    """The class or label of each row, where there are any and few."""

    @property
    def picks(self) -> dict[str, str]:
        """The routes that routers have chosen themselves, which they may learn from."""
        return {router: route for router, route in self.path.items() if route != STAND_IN}


class Rewarded(NamedTuple):
    """A decision and the reward for it, which counts once; ``at`` is a Unix time."""

    decision: Decision
    reward: float
    at: float


class _Routing(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A decision as a reply tells of it."""

    id: Annotated[str, Meta(max_length=MAX_ID)]
    revision: Annotated[int, Meta(ge=1, lt=2**31)]
    path: dict[_Name, _Name]
    iat: int = 0
    """When it was signed, in Unix time."""
    kid: str = ""
    """The id of the key that signed it."""
    features: dict[_Name, _Features] = {}
    signature: Annotated[str, Meta(max_length=64)] = ""


_encode = msgspec.json.Encoder(order="deterministic").encode
_read = msgspec.json.Decoder(_Routing).decode
_packed = msgspec.msgpack.Encoder().encode
unpacked: Callable[[bytes], Decision] = msgspec.msgpack.Decoder(Decision).decode
"""A decision from the bytes in which routers tell it to the controller."""


def decided(id: str, revision: int, path: Mapping[str, str]) -> Decision:
    """Make the decision of an evaluation's path, whose routes may be ``Choice``s."""
    if not path:
        return Decision(id, revision, {})
    routes = {router: str(route) for router, route in path.items()}
    known = {
        router: features
        for router, route in path.items()
        if type(route) is Choice and (features := _finite(route.features))
    }
    return Decision(id, revision, routes, known)


def _finite(features: tuple[float, ...]) -> tuple[float, ...]:
    """The features as JSON can carry them; none where one is no finite number, or too many are.

    They come from a component, which may be anybody's.
    """
    try:
        found = tuple(map(float, features))
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if len(found) <= MAX_FEATURES and all(map(math.isfinite, found)) else ()


def routing(decision: Decision, signatures: Signatures) -> str:
    """A decision as the parameter of a reply."""
    known = _Routing(
        decision.id,
        decision.revision,
        decision.path,  # type: ignore[arg-type]
        signatures.now(),
        signatures.key,
        decision.features,  # type: ignore[arg-type]
    )
    text = _encode(known)
    return f'{text[:-1].decode()},"signature":"{signatures.sign(text)}"}}'


def from_routing(text: str, signatures: Signatures) -> Decision:
    """Read the parameter of a reply; InvalidRequest where none of the graph's has given it."""
    try:
        found = _read(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"not the routing of a reply: {error}") from None
    signature, found.signature = found.signature, ""
    if not signature:
        raise InvalidRequest(
            "the routing is not signed; give the whole text of the reply's parameter `routing`, "
            "or the request's `id`"
        )
    signatures.check(_encode(found), signature, found.kid, found.iat)
    return Decision(found.id, found.revision, found.path, found.features)


class _Entry:
    """A decision, and the outputs in which its answer is, until somebody asks for it."""

    __slots__ = ("decision", "outputs")

    def __init__(self, decision: Decision, outputs: tuple[OutputTensor, ...]) -> None:
        self.decision = decision
        self.outputs = outputs

    def answered(self) -> Decision:
        if self.outputs:
            self.decision = replace(self.decision, answer=answer_of(self.outputs))
            self.outputs = ()
        return self.decision


class Made:
    """The latest decisions of one router, at most ``limit``, and which of them are news.

    Answers are looked for when a decision is told to somebody, off the path of its request.
    """

    def __init__(self, limit: int = MAX_MADE) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._news: deque[str] = deque(maxlen=limit)

    def add(self, decision: Decision, outputs: Iterable[OutputTensor]) -> None:
        """Remember a decision; of several with one id, the last."""
        entries, id = self._entries, decision.id
        entries[id] = _Entry(decision, tuple(filter(is_small, outputs)))
        entries.move_to_end(id)
        if len(entries) > self._limit:
            entries.popitem(last=False)
        self._news.append(id)

    def find(self, id: str) -> Decision | None:
        """The decision about the request of that id, if it is remembered."""
        entry = self._entries.get(id)
        return None if entry is None else entry.answered()

    @property
    def has_news(self) -> bool:
        """Whether there are decisions that were not told yet."""
        return bool(self._news)

    def news(self, most: int) -> list[tuple[str, bytes]]:
        """Take the oldest decisions that were not told yet, at most so many, each by its id.

        They are packed; see ``unpacked``.
        """
        ids = [self._news.popleft() for _ in range(min(most, len(self._news)))]
        known = (self._entries.get(id) for id in dict.fromkeys(ids))
        return [(e.decision.id, _packed(e.answered())) for e in known if e is not None]

    def retell(self, ids: Iterable[str] | None = None) -> None:
        """Make these news again, which were not heard; without any, all that is remembered."""
        again = self._entries if ids is None else [*ids, *self._news]
        self._news = deque(again, maxlen=self._limit)
