"""Server-sent events: responses that come piece by piece.

After the HTML Living Standard, 9.2. The status goes out with the first event, so an error before it
is a response like any other, and a later one is the last event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing
from typing import NamedTuple

from anabranch.router.errors import Headers, HttpReply, ReplyBody, error_reply

HEADERS: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # What proxies of the kind of nginx need to be told so that they pass each event on at once.
    (b"x-accel-buffering", b"no"),
)


class EventStream(NamedTuple):
    """A response of events, of which the first has been made; ``rest`` must be closed."""

    first: bytes
    rest: AsyncGenerator[bytes, None]


async def begin(events: AsyncGenerator[bytes, None]) -> EventStream:
    """Wait for the first event; what goes wrong until then is raised."""
    return EventStream(await anext(events, b""), events)


async def to_events(
    documents: AsyncGenerator[bytes, None],
    held: ExitStack,
    request_id: str,
    form: Callable[[Exception, str], HttpReply] = error_reply,
) -> AsyncGenerator[bytes, None]:
    """Each document, which has no newline, as an event; ``held`` is released at the end.

    ``form`` makes the last event of an error, given the id of the request.
    """
    begun = False
    with held:
        try:
            async with aclosing(documents):
                async for document in documents:
                    yield _event(document)
                    begun = True
        except Exception as error:
            if not begun:
                raise
            yield _event(form(error, request_id).body)


def _event(document: ReplyBody) -> bytes:
    return b"data: %s\n\n" % document
