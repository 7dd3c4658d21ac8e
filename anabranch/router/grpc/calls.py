"""Metadata, time and end of a gRPC call, and the bytes of messages that are arriving.

gRPC takes a message into memory once it is asked for it, whatever its size is. The edge sees the
size that stands before a message, and tells it in a header. So a message for which there is no room
is refused while it waits in the client: the windows of HTTP/2 let no more than a few pieces in.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import grpc
from grpc import StatusCode

from anabranch.access.guard import Credentials
from anabranch.errors import DeadlineExceeded
from anabranch.router.grpc.codes import REQUEST_ID, Ended, Status, status_of
from anabranch.router.http.headers import CLIENT_ADDRESS, CLIENT_NAME, OF_CLIENT
from anabranch.router.http.request import request_id
from anabranch.router.limits import LARGE, BytesUnderWay, HeldBytes, RequestLimits
from anabranch.telemetry.trace import Trace

T = TypeVar("T")
ServicerContext: TypeAlias = Any
"""A ``grpc.aio.ServicerContext``; gRPC ships no types."""
Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
SIZE = "x-anabranch-message-size"
"""Header of the edge: the first five bytes of a call's body as one number, a flag before the size
in bytes of the message, and five. So a compressed message has more than 4 GiB: nobody knows its
size before it has been unpacked."""
_COPIES = 2
"""Of a message in the front: as it came, and as it goes to a router."""
_AGENT = "user-agent"
"""Metadata that is left out: of a call that the front forwards, it names the front."""


class GrpcCall(ABC):
    """One call: its metadata as ``headers``, its id, the time that its client gives it."""

    __slots__ = ("address", "caller", "credentials", "headers", "id", "trace", "trailer")

    def __init__(
        self, headers: dict[str, str], id: str, credentials: Credentials, address: str
    ) -> None:
        self.credentials = credentials
        """What the call shows of who asks."""
        self.address = address
        """Address of the client, as the edge has seen it; empty where no edge was in between."""
        headers.pop(_AGENT, None)
        self.headers = headers | {REQUEST_ID: id}
        """By name, in lower case as gRPC sends them; without values that are binary."""
        self.id = id
        self.caller = ""
        """The name of who asks, once that is known; empty where who asks has none."""
        self.trace: Trace | None = None
        """Where to record what is done for it; None for most."""
        self.trailer: dict[str, str] = {REQUEST_ID: id}
        """Trailing metadata that the client gets beside the status."""

    @abstractmethod
    def remaining(self) -> float | None:
        """Seconds until the client's deadline; None where it has none."""


class ServedCall(GrpcCall):
    """A call that gRPC's own server has accepted."""

    __slots__ = ("_context",)

    def __init__(self, context: ServicerContext) -> None:
        self._context = context
        headers = {name: value for name, value in self.metadata if isinstance(value, str)}
        given = headers.get(REQUEST_ID)
        id = request_id(given.encode() if given else None)
        super().__init__(headers, id, _shown(headers), headers.get(CLIENT_ADDRESS, ""))

    @property
    def metadata(self) -> Metadata:
        """All that came, in order, with values that are binary.

        What it says of the client is left out unless the engine itself says it: on a Unix socket,
        or with TLS, which only its own nodes speak here.
        """
        found: Metadata = self._context.invocation_metadata()
        if self._context.peer().startswith("unix:") or self._is_secured:
            return found
        return [pair for pair in found if not pair[0].startswith(OF_CLIENT)]

    @property
    def _is_secured(self) -> bool:
        """Whether it came with TLS (gRPC's ``auth_context`` names the security of a transport)."""
        security: Sequence[bytes] = self._context.auth_context().get("transport_security_type", ())
        return b"ssl" in security

    def remaining(self) -> float | None:
        """Seconds until the client's deadline; None where it has none."""
        seconds: float | None = self._context.time_remaining()
        return seconds

    async def fail(self, error: Exception) -> None:
        """End the call as an error says; never returns."""
        code, details, trailer = status_of(error, self.id)
        await self._context.abort(code, details, tuple({**self.trailer, **dict(trailer)}.items()))


def _shown(headers: Mapping[str, str]) -> Credentials:
    found = headers.get("authorization"), headers.get(CLIENT_NAME)
    shown, name = (None if one is None else one.encode("latin-1") for one in found)
    return Credentials(shown, name)


Method: TypeAlias = Callable[[bytes, ServedCall], Awaitable[bytes]]
"""Answers one message with one."""


def answered(
    method: Callable[[T, ServedCall], Awaitable[bytes]],
) -> Callable[[T, ServicerContext], Awaitable[bytes]]:
    """Return a method as gRPC takes it: what it raises becomes the call's status."""

    async def answer(message: T, context: ServicerContext) -> bytes:
        call = ServedCall(context)
        try:
            found = await method(message, call)
        except Exception as error:
            await call.fail(error)
            raise
        context.set_trailing_metadata(tuple(call.trailer.items()))
        return found

    return answer


class ArrivingMessages:
    """Counts the messages of calls in ``under_way``, from their first byte to the call's end."""

    def __init__(self, limits: RequestLimits, under_way: BytesUnderWay) -> None:
        self._limits = limits
        self._under_way = under_way

    def answered_once(self, method: Method) -> Any:
        """Return the handler of a method that gRPC takes, for clients that may send anything.

        gRPC's own handler of one message waits for ever if a call ends without one. Of several
        messages the first counts, as with that handler.
        """

        async def first(messages: AsyncIterator[bytes], call: ServedCall) -> bytes:
            with HeldBytes(self._under_way) as held:
                held.set(self._counted(_announced(call)))
                message = await self._arrived(messages)
                held.set(self._counted(len(message)))
                return await method(message, call)

        return grpc.stream_unary_rpc_method_handler(answered(first))

    def held(self, message: bytes) -> HeldBytes:
        """Count a message that is there until the end of a ``with``, or raise Unavailable."""
        held = HeldBytes(self._under_way)
        held.set(self._counted(len(message)))
        return held

    def _counted(self, size: int) -> int:
        """Bytes that count for a message of ``size``; no larger one is taken than the limit."""
        return _COPIES * min(size, self._limits.max_body) if size > LARGE else 0

    async def _arrived(self, messages: AsyncIterator[bytes]) -> bytes:
        seconds = self._limits.body_timeout
        try:
            async with asyncio.timeout(seconds):
                async for message in messages:
                    return message
        except TimeoutError:
            raise DeadlineExceeded(f"the message did not arrive within {seconds:g}s") from None
        raise Ended(Status(StatusCode.INTERNAL, "the call has no whole message", ()))


def _announced(call: ServedCall) -> int:
    """The size that the edge tells; 0 without an edge."""
    with suppress(ValueError):
        return int(call.headers.get(SIZE, "0"))
    return 0
