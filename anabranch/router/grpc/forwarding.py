"""Passes a call on to a router: its bytes, metadata and time; and passes on how it ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any

from grpc import StatusCode
from grpc.aio import AioRpcError

from anabranch.errors import DeadlineExceeded, Unavailable
from anabranch.router.grpc.calls import SIZE, ServedCall
from anabranch.router.grpc.codes import REQUEST_ID, RETRY_AFTER, Ended, Status, shortened
from anabranch.router.grpc.pool import PooledRouter
from anabranch.router.seldon.messages import PUID
from anabranch.router.tracing import RESPONSE

_RESERVED = ("grpc-", ":")
_TOLD = frozenset((REQUEST_ID, RETRY_AFTER, RESPONSE, PUID))
"""Names of a router's trailing metadata that are passed on to the client."""
_OWN = frozenset((REQUEST_ID, SIZE, "user-agent", "content-type", "te"))
"""Metadata that is not passed on as it came."""


async def forward(router: PooledRouter, path: str, message: bytes, call: ServedCall) -> bytes:
    """Have a router answer the call of a path. What is raised becomes the call's status."""
    with router:
        try:
            running = router.unary(path)(
                message, timeout=call.remaining(), metadata=_metadata(call)
            )
            answer: bytes = await running
            call.trailer |= _told(await running.trailing_metadata())
        except AioRpcError as error:
            raise _ended(error) from None
        return answer


async def forward_stream(
    router: PooledRouter, message: bytes, call: ServedCall
) -> AsyncGenerator[bytes, None]:
    """Have a router answer one request of a stream, with any number of messages."""
    with router:
        running = router.stream([message], timeout=call.remaining(), metadata=_metadata(call))
        try:
            async for answer in running:
                yield answer
        except AioRpcError as error:
            raise _ended(error) from None
        finally:
            running.cancel()


def _metadata(call: ServedCall) -> list[tuple[str, Any]]:
    kept = [
        (name, value)
        for name, value in call.metadata
        if name not in _OWN and not name.startswith(_RESERVED)
    ]
    return [*kept, (REQUEST_ID, call.id)]


def _told(trailer: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in trailer if name in _TOLD}


def _ended(error: AioRpcError) -> Exception:
    """Return what a router said, or what it means that gRPC says something in its place."""
    told = _told(error.trailing_metadata() or ())
    code, details = error.code(), error.details() or ""
    if REQUEST_ID in told:
        return Ended(Status(code, shortened(details), tuple(told.items())))
    if code is StatusCode.UNAVAILABLE:
        return Unavailable("the router ended before it answered; try again")
    if code is StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("the call's time is over")
    return Ended(Status(code, shortened(details), ()))
