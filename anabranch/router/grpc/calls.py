"""Metadata, time and end of a gRPC call, and the bytes of its messages.

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
from anabranch.access.identity import Identity
from anabranch.errors import DeadlineExceeded
from anabranch.router.errors import ClientGone
from anabranch.router.grpc.codes import REQUEST_ID, Ended, Status, status_of
from anabranch.router.http.headers import CLIENT_ADDRESS, CLIENT_NAME, OF_CLIENT
from anabranch.router.http.request import request_id
from anabranch.router.large_reply import write_held
from anabranch.router.limits import LARGE, ByAddress, BytesUnderWay, HeldBytes, RequestLimits
from anabranch.router.oip.raw_tensors import Buffer
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
"""Of a message that is passed on or sent: as it is here, and as gRPC has it."""
_AGENT = "user-agent"
"""Metadata that is left out: of a call that the front forwards, it names the front."""


class GrpcCall(ABC):
    """One call: its metadata as ``headers``, its id, the time that its client gives it."""

    __slots__ = (
        "address", "caller", "credentials", "headers", "id", "trace", "trailer", "unpack",
    )  # fmt: skip

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
        self.unpack: Callable[[Buffer], Awaitable[Buffer]] | None = None
        """Unpacks its message, which waits until it is known who asks; None if it is not packed."""

    def asked_by(self, identity: Identity) -> None:
        """Note who asks; what a known caller has shown goes no further."""
        self.caller = identity.name
        if identity.kind != "anonymous":
            self.headers.pop("authorization", None)

    @abstractmethod
    def remaining(self) -> float | None:
        """Seconds until the client's deadline; None where it has none."""

    def uncounted(self, message: Buffer) -> int:
        """Bytes of its message that do not count yet in what is under way."""
        return len(message)


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
    under_way: Callable[[ServedCall], BytesUnderWay],
) -> Callable[[T, ServicerContext], Awaitable[None]]:
    """Return a method as gRPC takes one that streams: it writes one answer.

    What the method raises becomes the call's status. A large answer is counted in what is
    ``under_way`` until its client has taken it.
    """

    async def answer(message: T, context: ServicerContext) -> None:
        call = ServedCall(context)
        held = HeldBytes(under_way(call))
        try:
            found = await method(message, call)
            held.add(counted(len(found)))
        except Exception as error:
            await call.fail(error)
            raise
        context.set_trailing_metadata(tuple(call.trailer.items()))
        with suppress(ClientGone):
            await write_held(context.write, found, held)

    return answer


def counted(size: int) -> int:
    """Return how many bytes count for a message of ``size`` bytes."""
    return _COPIES * size if size > LARGE else 0


class FrontMessages:
    """Counts messages in the front: from their first byte, and answers until they are taken.

    All together hold at most ``max_under_way`` bytes, those of one address half of that.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        most = limits.max_under_way
        self._all = BytesUnderWay(most, "the front")
        self._shares = ByAddress(
            lambda: BytesUnderWay(most // 2, "one address at the front", self._all)
        )

    @property
    def held(self) -> int:
        """Bytes of all messages."""
        return self._all.held

    def of(self, call: ServedCall) -> BytesUnderWay:
        """Return what the messages of a call count in."""
        return self._shares.of(call.address)

    def answered_once(self, method: Method) -> Any:
        """Return the handler of a method that gRPC takes, for clients that may send anything.

        gRPC's own handler of one message waits for ever if a call ends without one. Of several
        messages the first counts, as with that handler.
        """

        async def first(messages: AsyncIterator[bytes], call: ServedCall) -> bytes:
            with HeldBytes(self.of(call)) as held:
                # No larger one is taken than the limit.
                held.set(counted(min(_announced(call), self._limits.max_body)))
                message = await self._arrived(messages)
                held.set(counted(len(message)))
                return await method(message, call)

        return grpc.stream_stream_rpc_method_handler(answered(first, self.of))

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
