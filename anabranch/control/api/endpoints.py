"""Calls and answers of the control API's endpoints, and the strict reading of bodies and queries.

A body is JSON of at most 64 KiB. What is unknown, repeated, of another type or no finite number is
refused, and named.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qs

import orjson

from anabranch.access.identity import Identity
from anabranch.access.roles import Action
from anabranch.control.store.store import Store, Stored
from anabranch.errors import FieldPath, InvalidRequest, Mistake, NotFound, TooLarge
from anabranch.names import GRAPH_IN_PATH
from anabranch.router.backend import ControlAnswer
from anabranch.router.errors import Headers
from anabranch.specs.excerpts import safe_path
from anabranch.specs.messages import mistakes
from anabranch.specs.models import Model

ApiAnswer: TypeAlias = ControlAnswer
Query: TypeAlias = Mapping[str, str]

GRAPH = f"/graphs/(?P<graph>{GRAPH_IN_PATH})"
"""Pattern of the path of a graph, to which ``ApiCall.graph`` belongs."""
REVISION = f"{GRAPH}/revisions/(?P<revision>[0-9]{{1,9}})"
"""Pattern of the path of a revision, to which ``ApiCall.revision`` belongs."""
JSON: Headers = ((b"content-type", b"application/json"),)
MAX_BODY = 64 * 2**10
"""Largest body that is not a bundle, in bytes."""
_MAX_FIELDS = 32
_MAX_DIGITS = 400
"""Longest number in a body; the largest float has 309 digits."""

ModelT = TypeVar("ModelT", bound=Model)


@dataclass(frozen=True)
class ApiCall:
    """A request to one endpoint; all but ``query``, ``body`` and ``identity`` is in the path."""

    graph: str
    revision: int
    action: str
    query: Query
    body: bytes
    identity: Identity
    """Who asks; what the endpoint's guard demands is allowed."""
    trace: str = ""
    key: str = ""
    node: str = ""
    digest: str = ""

    def may_view(self, graph: str) -> bool:
        """Return whether who asks may see a graph."""
        return self.identity.may("view", graph)


Endpoint: TypeAlias = Callable[[ApiCall], Awaitable[ApiAnswer]]


@dataclass(frozen=True)
class Guarded:
    """An endpoint, and the action that its caller must be allowed; None for everybody.

    It holds for the graph in the path. Where there is none it must be allowed for the engine as a
    whole, or ``somewhere``: then the endpoint itself looks at each graph.
    """

    action: Action | None
    endpoint: Endpoint
    somewhere: bool = False

    def check(self, identity: Identity, graph: str) -> None:
        """Raise Unauthenticated or Forbidden for who may not ask this."""
        if self.action is None or identity.may(self.action, graph):
            return
        if not (self.somewhere and identity.may_somewhere(self.action)):
            raise identity.refusal(self.action, graph)


Routes: TypeAlias = dict[str, dict[str, Guarded]]
"""Endpoints by the pattern of their path, which names parts of ``ApiCall``, and by method."""


class EndpointGroup(Protocol):
    """Endpoints that belong together, with what they need."""

    @property
    def routes(self) -> Routes:
        """The endpoints by path and method."""


def views(endpoint: Endpoint) -> dict[str, Guarded]:
    """Return the methods of a path that shows something of a graph."""
    return {"GET": Guarded("view", endpoint)}


def operates(endpoint: Endpoint) -> dict[str, Guarded]:
    """Return the methods of a path that changes the traffic of a graph."""
    return {"POST": Guarded("operate", endpoint)}


def answer(status: int, content: Any) -> ApiAnswer:
    """An answer of JSON."""
    return status, JSON, orjson.dumps(content)


def deleted(graph: str) -> NotFound:
    """The error for a graph that was deleted."""
    return NotFound(
        f"graph {graph!r} was deleted; `anabranch rollback {graph}` brings it back, and `anabranch "
        f"history {graph}` lists its revisions"
    )


def present(store: Store, graph: str) -> Stored:
    """Return how a graph stands; NotFound where it was deleted, or never was."""
    stored = store.situation(graph)
    if stored.situation.state == "deleted":
        raise deleted(graph)
    return stored


def read_query(text: str) -> Query:
    """The fields of a query, each as it was last given."""
    try:
        fields = parse_qs(text, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise InvalidRequest(f"the query has more than {_MAX_FIELDS} fields") from None
    return {name: values[-1] for name, values in fields.items()}


def whole_number(query: Query, name: str, default: int, largest: int) -> int:
    """A number in the query; InvalidRequest names one that is none, or too large."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= largest):
        raise InvalidRequest(f"{name}={text[:32]!r} is not a whole number from 0 to {largest}")
    return int(text)


def read_body(body: bytes, model: type[ModelT]) -> ModelT:
    """A body as ``model``; an empty one stands for ``{}``."""
    if len(body) > MAX_BODY:
        raise TooLarge(f"the body has {len(body)} bytes; this takes at most {MAX_BODY}")
    return checked(read_json(body, "the body") if body.strip() else {}, model, "the body")


def read_json(text: bytes | str, what: str) -> Any:
    """JSON without repeated keys, NaN and infinities; InvalidRequest says what is wrong."""
    try:
        return json.loads(
            text, object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_whole
        )
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{what} is not JSON that can be read: {error}") from None


def checked(data: Any, model: type[ModelT], what: str, place: FieldPath = ()) -> ModelT:
    """Data as ``model``; InvalidRequest lists all that is wrong with it, as fields of ``place``."""
    if not isinstance(data, Mapping):
        raise InvalidRequest(f"{what} must be a JSON object")
    refuse(what, [((*place, *path), text) for path, text in mistakes(model, data)])
    return model.model_validate(data)


def refuse(what: str, said: Iterable[Mistake]) -> None:
    """Raise InvalidRequest if anything was said against a part of ``what``."""
    texts = [f"{'.'.join(map(str, safe_path(path))) or what}: {text}" for path, text in said]
    if texts:
        raise InvalidRequest("; ".join(texts))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        (twice, _), *_ = counts.most_common(1)
        raise ValueError(f"{twice[:64]!r} is given twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)
