"""Asynchronous requests over HTTP: taken by ``Prefer: respond-async``, and asked for by their id.

| method | path | answers |
|---|---|---|
| POST | ``…/infer`` with ``Prefer: respond-async`` | 202, with ``Location`` |
| GET | ``/v2/models/<graph>/requests/<id>`` | 202 while it waits, then the very reply; 410 if cancelled |
| DELETE | ``/v2/models/<graph>/requests/<id>`` | 200; it is cancelled, or its reply forgotten |

A request is checked before it is taken, so one that could never be answered gets its 400 at once.
"""  # noqa: E501

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import msgspec

from anabranch.access.identity import Identity
from anabranch.errors import InvalidRequest, RequestError, Unavailable
from anabranch.graph.batch.batching import LOWEST_LEVEL, PRIORITY
from anabranch.graph.calls.stepping import in_task
from anabranch.router.errors import Headers, HttpReply, error_body
from anabranch.router.http.app import json_reply
from anabranch.router.http.request import BodyRule, HttpRequest
from anabranch.router.inference.contract import InferenceRequest, TensorMetadata
from anabranch.router.later import MAX_BODY, AsyncAnswer, AsyncRequest, AsyncState, AsyncStore
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.decode import decode_body
from anabranch.router.oip.helper_process import by_size
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.traffic.arms import Arms
from anabranch.telemetry.outlet import line_of

logger = logging.getLogger("anabranch.router")

PREFER = b"prefer"
WEBHOOK = "x-anabranch-webhook"
"""Header that names the URL to call once a request is over."""
REQUESTS = "/requests/"
_PREFERENCE = re.compile(r"(?:^|,)\s*respond-async\s*(?:[;,]|$)", re.IGNORECASE)
_ID = re.compile(r"[0-9a-f]{32}")
_LENGTH = "inference-header-content-length"
_LEFT_OUT = frozenset(
    ("prefer", WEBHOOK, "content-length", "content-encoding", "transfer-encoding", "connection",
     "expect", "host", "accept-encoding", "keep-alive", "authorization", _LENGTH)
)  # fmt: skip
_APPLIED = (b"preference-applied", b"respond-async")
_AGAIN = (b"retry-after", b"1")
_AWAY = "asynchronous requests are taken by the controller, which is restarting; try again"
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def prefers_async(request: HttpRequest) -> bool:
    """Return whether the caller would rather be answered later (RFC 7240, 4.1)."""
    return PREFER in request.head.last and bool(_PREFERENCE.search(request.headers["prefer"]))


class AsyncCalls:
    """The asynchronous requests of one graph."""

    def __init__(self, arms: Arms, store: AsyncStore) -> None:
        self._arms = arms
        self._store = store
        self._body = BodyRule.of(arms.limits, arms.under_way)._replace(
            limit=min(MAX_BODY, arms.limits.max_body)
        )
        self._place = f"/v2/models/{arms.name}{REQUESTS}"
        self.methods = {"GET": self.look, "DELETE": self.withdraw}
        """What answers at the place of a request, given its id; all take the right to call."""

    async def take(self, revision: str | None, request: HttpRequest) -> HttpReply:
        """Have a request answered later; raises as ``infer`` does for one that never could be."""
        arms, length = self._arms, request.json_length
        arms.gate.check(request.caller)
        sent = await request.buffer(self._body)
        with arms.gate.caller_place(request.caller):
            inputs = arms.metadata(revision).inputs
            decoded, body, headers = await by_size(sent, _read, length, arms.limits, inputs)
            routing = arms.routing
            routing.arm(revision).core.check(decoded)
        kept = [pair for pair in request.headers.items() if pair[0] not in _LEFT_OUT]
        asked = AsyncRequest(
            request.path, (*kept, *headers), body, _owner(self._identity(request)),
            routing.is_idempotent, request.headers.get(WEBHOOK, ""),
        )  # fmt: skip
        return self._accepted(await _told(self._store.submit(asked)))

    async def look(self, id: str, request: HttpRequest) -> HttpReply:
        """Answer with the reply of a request, or say that it is still to come."""
        state = await _told(self._store.look(_known(id), self._asker(request)))
        if state.phase in ("waiting", "running"):
            return self._accepted(state)
        if state.phase == "cancelled":
            return HttpReply(410, error_body(f"request {id!r} was cancelled"))
        if state.phase == "lost":
            return HttpReply(500, error_body(
                f"request {id!r} was lost: what evaluated it ended before it answered, and the "
                "graph is not `idempotent`, so it was not evaluated again"
            ))  # fmt: skip
        return HttpReply(state.status, state.body, _encoded(state.headers))

    async def withdraw(self, id: str, request: HttpRequest) -> HttpReply:
        """Cancel a request, or forget its reply."""
        state = await _told(self._store.withdraw(_known(id), self._asker(request)))
        return json_reply({"id": state.id, "state": state.phase})

    def _accepted(self, state: AsyncState) -> HttpReply:
        place = self._place + state.id
        document = {"id": state.id, "state": state.phase, "location": place}
        headers = ((b"location", place.encode()), _APPLIED, _AGAIN)
        return json_reply(document, 202)._replace(headers=headers)

    def _identity(self, request: HttpRequest) -> Identity:
        """Return who asks; whether they may has been decided."""
        return self._arms.guard.check("call", request.head.credentials, request.head.address)

    def _asker(self, request: HttpRequest) -> str | None:
        """Return whose requests the caller may see; None for those who operate the graph."""
        identity = self._identity(request)
        return None if identity.may("operate", self._arms.name) else _owner(identity)


def _owner(identity: Identity) -> str:
    return f"{identity.kind}:{identity.name}"


def _known(id: str) -> str:
    if not _ID.fullmatch(id):
        raise InvalidRequest(f"{id[:64]!r} is not the id of an asynchronous request: 32 digits")
    return id


async def _told(answer: Awaitable[AsyncAnswer]) -> AsyncState:
    await in_task()
    try:
        found = await answer
    except Exception as error:
        logger.warning("the controller did not take an asynchronous request: %s", line_of(error))
        raise Unavailable(_AWAY) from None
    if isinstance(found, RequestError | Unavailable):
        raise found
    return found


def _encoded(headers: Any) -> Headers:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)


def _read(
    sent: Buffer, length: int | None, limits: RequestLimits, inputs: Sequence[TensorMetadata]
) -> tuple[InferenceRequest, bytes, list[tuple[str, str]]]:
    """Return the request of a body, the body to keep, and the headers that belong to it."""
    decoded = decode_body(sent, length, limits, lambda: inputs).request
    return decoded, *_with_low_priority(bytes(sent), length)


def _with_low_priority(body: bytes, length: int | None) -> tuple[bytes, list[tuple[str, str]]]:
    """Return a body whose request has the lowest priority unless it says another, and headers.

    All else stays as it came, byte by byte, and so does a body without JSON to say it in.
    """
    if length == 0:
        return body, [(_LENGTH, "0")]
    head = body if length is None else body[:length]
    fields = _raw_fields(head)
    parameters: Mapping[str, Any] = msgspec.json.decode(fields.get("parameters", b"null")) or {}
    fields["parameters"] = msgspec.Raw(msgspec.json.encode({PRIORITY: LOWEST_LEVEL, **parameters}))
    new = msgspec.json.encode(fields)
    if length is None:
        return new, []
    return new + body[length:], [(_LENGTH, str(len(new)))]
