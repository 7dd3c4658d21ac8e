"""The lean socket's protocol: HTTP/1.1, with no task for a request that never waits.

Requests are read by httptools, strictly: where a message ends is never a matter of opinion
(RFC 9112, 6.3 and 11.2). One request of a connection is at work at a time; those that come
meanwhile wait in order, and so does the refusal of a malformed one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextvars import copy_context
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from anabranch.graph.calls.stepping import begin
from anabranch.router.http.headers import OF_CLIENT
from anabranch.router.http.lean_cycle import LeanCycle
from anabranch.router.http.lean_head import (
    CROWDED,
    LATE,
    MALFORMED,
    MAX_HEAD,
    TOO_LARGE,
    MessageHead,
    Problem,
    message_of,
    problem_of,
    size_of,
)
from anabranch.router.http.lean_reply import refusal
from anabranch.router.http.lean_state import LeanState
from anabranch.router.large_reply import STALLED_S
from anabranch.router.limits import LARGE

IDLE_S = 600.0
"""How long a connection may have no request at work, in seconds."""
HEAD_S = 8.0
"""How long a client without a proxy between may take to send a head, in seconds."""
LINGER_S = 8.0
"""How long a client that was refused may take to read that, or to send the rest of a body that
nobody wants, before the connection is closed."""
MAX_DROPPED = 64 * 2**20
"""Bytes that are read and dropped of a connection that is about to end; no more is read."""
_OF_CLIENT = OF_CLIENT.encode()


class _RefusedError(Exception):
    """Raised in a callback of the parser, which stops there."""


class LeanProtocol(HttpToolsProtocol):
    """One connection.

    Of uvicorn's class it keeps what reads a URL, the flow control, and the timer of an idle
    connection. ``cycle`` is the request at work, or the last one that was; ``parser`` is None once
    the connection is lost. What a connection says of its client is dropped unless it
    ``is_believed``.
    """

    server_state: LeanState
    cycle: LeanCycle | None  # type: ignore[assignment]

    def __init__(
        self, config: Config, state: LeanState, is_guest: bool = False, is_believed: bool = False
    ) -> None:
        super().__init__(config, state, {})
        self._is_guest, self._is_believed = is_guest, is_believed
        # Of the same bytes, connections of the two kinds do not read the same.
        self._heads = state.heads if is_believed else state.heads_of_others
        self._context = copy_context()
        self.about: Mapping[str, Any] = {}
        """Of ASGI's scope, the part that is the connection's."""
        self.news = asyncio.Event()
        """Wakes all who wait for more of a body or for the end of a request."""
        self._waiting: deque[LeanCycle] = deque()
        self._reading: LeanCycle | None = None
        """The request whose body is being read."""
        self._in_head = False
        self._head_due: asyncio.TimerHandle | None = None
        """Of a guest's head that is being read."""
        self._stalled: asyncio.TimerHandle | None = None
        """Of a client that takes nothing of what was written."""
        self._raw = 0
        """Bytes that came since the last message or piece of a body ended."""
        self._is_last = False
        """Whether no message after the one being read is taken."""
        self._is_deaf = False
        """Whether nothing that still comes is looked at."""
        self._dropped = 0
        """Bytes that came since then."""
        self._refusal: Problem | None = None
        self._is_stepping = False
        self.replies = state.replies
        self.idle_since = 0.0
        """When the last request ended or, if there was none, the connection began."""

    @property
    def under_way(self) -> int:
        """How many requests are at work or wait for their turn."""
        return len(self._waiting) + (not self._is_free())

    def _is_free(self) -> bool:
        cycle = self.cycle
        return cycle is None or cycle.response_complete or cycle.disconnected

    # Called by the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.about = {
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
        }
        self.idle_since = self.loop.time()
        self._watch(IDLE_S)
        if self._is_guest:
            self.server_state.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request at work that its client has gone, and drop those that wait."""
        self._waiting.clear()
        self._reading = self._refusal = None
        self._unset_keepalive_if_required()
        self._head_is_here()
        self.resume_writing()
        self.server_state.guests.discard(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Write no more, and end the connection if its client takes nothing for too long."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def data_received(self, data: bytes) -> None:
        """Read what has come, and begin what is complete or next."""
        if self._is_deaf or self.transport.is_closing():
            self._drop(len(data))
            return
        is_new, heads = self._is_between(), self._heads
        known = heads.find(data) if is_new else None
        if known is not None:
            self._waiting.append(self._cycle(*known))
        else:
            self._read(data)
            if is_new and self._is_between() and len(self._waiting) == 1:
                heads.learn(data, self._waiting[0].message)
        self._go_on()

    def _is_between(self) -> bool:
        """Whether nothing was read of a message that is not complete, and another may come."""
        return not (
            self._raw or self._in_head or self._reading or self._is_last or self._refusal
            or self.server_state.closing
        )  # fmt: skip

    def _read(self, data: bytes) -> None:
        self._raw += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # To ignore that is allowed (RFC 9110, 7.8), but the parser reads no further.
            self._is_deaf = True
        except httptools.HttpParserError:
            self._refuse(MALFORMED)
        if self._raw > 2 * MAX_HEAD:
            self._refuse(TOO_LARGE)
        if self._is_guest:
            self._time_head()

    def _time_head(self, is_unread: bool = False) -> None:
        """Give the client of a head that has begun the time to send the rest.

        ``is_unread``: it may have been sent, for nothing was read of the connection.
        """
        if not self._in_head:
            self._head_is_here()
        elif self._head_due is None:
            self._head_due = self.loop.call_later(HEAD_S, self._head_is_late, is_unread)

    def _head_is_here(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _head_is_late(self, was_unread: bool) -> None:
        self._head_due = None
        if was_unread or self.flow.read_paused:
            self._time_head(self.flow.read_paused)
        elif not self._is_deaf:
            self._refuse(LATE)
            self._go_on()

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        if self._is_last:
            raise _RefusedError
        self.url = b""
        self.headers = []
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is dropped, as RFC 9110 (6.5.1) lets recipients do."""
        if not self._in_head:
            return
        name = name.lower()
        if self._is_believed or not name.startswith(_OF_CLIENT):
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Put the request behind those that are there already."""
        self._in_head = False
        parser, headers = self.parser, self.headers
        version, last = parser.get_http_version(), dict(headers)
        problem = problem_of(version, size_of(self.url, headers), last)
        if problem is not None:
            self._refusal = problem
            raise _RefusedError
        keep_alive = version == "1.1" and parser.should_keep_alive()
        if self.server_state.closing or parser.should_upgrade():
            keep_alive = False
        cycle = self._cycle(message_of(version, parser.get_method(), self.url, headers))
        cycle.keep_alive = keep_alive
        cycle.waiting_for_100_continue = last.get(b"expect", b"").lower() == b"100-continue"
        self._is_last = not keep_alive
        self._reading = cycle
        self._waiting.append(cycle)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._raw = 0
        if self._reading is not None:
            self._reading.feed(body)

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self._raw = 0
        if self._reading is not None:
            self._reading.end()
            self._reading = None

    # Called by a cycle.

    def on_response_complete(self) -> None:
        """Go on with the next request, outside of the last one's task and context."""
        cycle = self.cycle
        if cycle is not None and cycle.is_cut_off:
            self._linger()
        elif cycle is not None and cycle is self._reading:
            self.loop.call_later(LINGER_S, self._give_up, cycle)
        if self.transport.is_closing() or self._is_stepping:
            return
        if self._waiting or self._refusal is not None:
            self.loop.call_soon(self._go_on, context=self._context)
        else:
            self.adjust()
            self.idle_since = self.loop.time()

    # Called by the server, and by timers.

    def shutdown(self) -> None:
        """End with the last request that has come, or now if there is none."""
        self.replies.flush()
        last = self._waiting[-1] if self._waiting else self.cycle
        if last is None or last.response_complete or last.disconnected:
            self.transport.close()
        else:
            last.keep_alive = False
            self._is_last = True

    def turn_away(self) -> None:
        """End the connection, which has no request at work; one that is new is told why."""
        self.replies.flush()
        if self.cycle is None and not self._in_head:
            self._tell(*CROWDED)
        else:
            self.transport.abort()  # to close would wait until the client takes its last answer

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle for long; one timer serves many requests."""
        passed = 0.0 if self.under_way else self.loop.time() - self.idle_since
        if passed < IDLE_S:
            self._watch(IDLE_S - passed)
        else:
            self.transport.close()

    def _watch(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def _go_on(self) -> None:
        """Begin requests until one is at work that waits, or all are answered."""
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._waiting and self._is_free() and not self.transport.is_closing():
                self._begin(self._waiting.popleft())
        finally:
            self._is_stepping = False
        if self.transport.is_closing():
            return
        if self._is_free() and not self._waiting:
            self.idle_since = self.loop.time()
            if self._refusal is not None:
                self._tell(*self._refusal)
        if self._waiting or self._reading is not None or self.flow.read_paused:
            self.adjust()

    def _cycle(self, message: MessageHead, body: bytes | None = None) -> LeanCycle:
        if message.word is not None and not self._is_guest:
            self.server_state.hear(message.word, is_new=self.cycle is not None)
        return LeanCycle(self, message, body, self.server_state.headers())

    def _begin(self, cycle: LeanCycle) -> None:
        if self.cycle is not None and self.cycle.batch == self.replies.batch:
            self.replies.flush()
        self.cycle = cycle
        task = begin(cycle.run_asgi(self.app), self.loop)
        if task is not None:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def adjust(self) -> None:
        """Read on, unless requests wait for their turn or a large body for being taken.

        A large body is read in the turn that it has among all of them.
        """
        if self.transport.is_closing() or self._is_deaf:
            return
        reading = self._reading
        large = reading if reading is not None and reading.came > LARGE else None
        if self._waiting or (large is not None and large.waits):
            self.flow.pause_reading()
        elif large is not None and self.flow.read_paused:
            self.server_state.turns.wait(self)
        else:
            self.flow.resume_reading()

    def read_on(self) -> None:
        """Read a piece, now that it is this connection's turn."""
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _refuse(self, problem: Problem) -> None:
        """Read no more; the message being read, if any, is refused in its turn."""
        self._is_deaf = True
        if self._is_last and self._reading is None:
            return  # it is not about a message that would have been answered
        if self._refusal is None:
            self._refusal = problem
        cut, self._reading = self._reading, None
        if cut is None:
            return
        if cut in self._waiting:
            self._waiting.remove(cut)
        elif cut.response_complete or cut.response_started:
            self.transport.close()
        cut.cut()

    def _tell(self, status: int, text: str) -> None:
        """Write a refusal; a close that comes too early would destroy it (RFC 9112, 9.6)."""
        self._refusal = None
        self.replies.flush()
        self.transport.write(refusal(status, text, self.server_state.headers()))
        self._linger()

    def _linger(self) -> None:
        """End the connection once its client has had the time to read the last reply."""
        if self.transport.is_closing():
            return
        self._is_deaf = True
        self._waiting.clear()
        self._reading = self._refusal = None
        self.flow.resume_reading()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(LINGER_S, self.transport.abort)
        if self.transport.can_write_eof():  # with TLS it cannot
            self.transport.write_eof()

    def _drop(self, size: int) -> None:
        """Count bytes that nobody will look at, and read no more beyond the limit."""
        self._dropped += size
        if self._dropped > MAX_DROPPED and not self.transport.is_closing():
            self.flow.pause_reading()

    def _give_up(self, cycle: LeanCycle) -> None:
        """Close the connection if the rest of a body that nobody wants is still coming."""
        if self._reading is cycle:
            self.transport.close()
