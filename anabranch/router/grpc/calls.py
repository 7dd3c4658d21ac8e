"""Metadata, time and end of a gRPC call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from anabranch.router.grpc.codes import REQUEST_ID, status_of
from anabranch.router.http.request import request_id
from anabranch.telemetry.trace import Trace

ServicerContext: TypeAlias = Any
"""A ``grpc.aio.ServicerContext``; gRPC ships no types."""


class GrpcCall:
    """One call: its metadata as ``headers``, its id, the time that its client gives it."""

    __slots__ = ("context", "headers", "id", "trace", "trailer")

    def __init__(self, context: ServicerContext) -> None:
        self.context = context
        self.headers: dict[str, str] = {
            name: value for name, value in context.invocation_metadata() if isinstance(value, str)
        }
        """By name, in lower case as gRPC sends them; without values that are binary."""
        given = self.headers.get(REQUEST_ID)
        self.id = request_id(given.encode() if given else None)
        self.trace: Trace | None = None
        """Where to record what is done for it; None for most."""
        self.trailer: dict[str, str] = {REQUEST_ID: self.id}
        """Trailing metadata that the client gets beside the status."""

    def remaining(self) -> float | None:
        """Seconds until the client's deadline; None where it has none."""
        seconds: float | None = self.context.time_remaining()
        return seconds

    async def fail(self, error: Exception) -> None:
        """End the call as an error says; never returns."""
        code, details, trailer = status_of(error, self.id)
        await self.context.abort(code, details, tuple({**self.trailer, **dict(trailer)}.items()))


Method: TypeAlias = Callable[[bytes, GrpcCall], Awaitable[bytes]]
"""Answers one message with one."""


def answered(method: Method) -> Callable[[bytes, ServicerContext], Awaitable[bytes]]:
    """Return a method as gRPC takes it: what it raises becomes the call's status."""

    async def answer(message: bytes, context: ServicerContext) -> bytes:
        call = GrpcCall(context)
        try:
            found = await method(message, call)
        except Exception as error:
            await call.fail(error)
            raise
        context.set_trailing_metadata(tuple(call.trailer.items()))
        return found

    return answer
