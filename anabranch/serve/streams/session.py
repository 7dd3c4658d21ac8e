"""The replica's end of one connection: the calls of one caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from anabranch.errors import AnabranchError
from anabranch.graph.calls.stepping import begin, in_task
from anabranch.router.between_nodes import CALLED_MS
from anabranch.serve.streams import frames
from anabranch.serve.streams.channel import FrameChannel
from anabranch.serve.streams.credit import PieceCredit
from anabranch.serve.streams.frames import Buffer, MalformedFrame, frame
from anabranch.serve.streams.greeting import (
    GREETING_S,
    Challenge,
    Proof,
    challenge,
    decoded,
    encoded,
    welcome,
)
from anabranch.serve.streams.limits import AHEAD
from anabranch.serve.streams.messages import (
    content,
    credited,
    message,
    told,
)
from anabranch.serve.streams.served import CallSessions, ServedCalls
from anabranch.telemetry.activity import ACTIVITY


class CallSession(FrameChannel):
    """One connection of a caller. Its calls are cancelled when it is lost."""

    _calls: dict[int, asyncio.Task[None] | None]
    """Calls for whose end the caller waits; None for one that has not waited yet."""

    def __init__(self, served: ServedCalls, sessions: CallSessions) -> None:
        super().__init__(CALLED_MS)
        self._served = served
        self._sessions = sessions
        self._credits: dict[int, PieceCredit] = {}
        self._most = 0
        self._is_known = False
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Challenge the caller."""
        super().connection_made(transport)
        if self._served.is_closing:
            self.abort()
            return
        self._sessions.add(self)
        given = challenge()
        self._takers = {frames.PROOF: partial(self._take_proof, given)}
        self._late = self._loop.call_later(GREETING_S, self.abort)
        self.send(frame(frames.CHALLENGE, 0, encoded(given)))

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel the calls, for which nobody waits any more."""
        super().connection_lost(error)
        if self._late is not None:
            self._late.cancel()
        for call in tuple(self._calls):
            self._cancel(call)
        self._sessions.discard(self)

    def pause_writing(self) -> None:
        """Read no more calls of a caller that does not read answers."""
        super().pause_writing()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read calls again."""
        super().resume_writing()
        if not self.closed and self._transport is not None:
            self._transport.resume_reading()

    def go_away(self) -> None:
        """Tell the caller to make no further calls, and to close once it has its answers."""
        if self._is_known:
            self.send(frame(frames.GOING_AWAY, 0))
        else:
            self.abort()

    def _take_proof(
        self, given: Challenge, call: int, header: memoryview, rest: memoryview
    ) -> None:
        proof = decoded(header, Proof)
        served, limits = self._served, self._served.limits
        own = limits.bytes, limits.calls
        answer = welcome(given, proof, served.secret, own, served.under_way)
        if self._late is not None:
            self._late.cancel()
        self._is_known, self._most, self._reader.most = True, proof.most, limits.bytes
        self._takers = {
            frames.CALL: self._take_call,
            frames.STREAM: self._take_stream,
            frames.CANCEL: self._take_cancel,
            frames.CREDIT: self._take_credit,
        }
        self.send(frame(frames.WELCOME, 0, encoded(answer)))

    def _take_call(self, call: int, header: memoryview, rest: memoryview) -> None:
        name, args = self._read(call, header, rest)
        if not self._refused(call):
            self._run(call, self._answer(call, name, args))

    def _take_stream(self, call: int, header: memoryview, rest: memoryview) -> None:
        name, args = self._read(call, header, rest)
        if not self._refused(call):
            self._credits[call] = PieceCredit()
            self._run(call, self._give(call, name, args))

    def _take_cancel(self, call: int, header: memoryview, rest: memoryview) -> None:
        self._cancel(call)

    def _take_credit(self, call: int, header: memoryview, rest: memoryview) -> None:
        pieces = credited(header, AHEAD)
        credit = self._credits.get(call)
        if credit is None:
            return
        if credit.left + pieces > AHEAD:
            raise MalformedFrame(f"a stream has credit for more than {AHEAD} pieces")
        credit.add(pieces)

    def _read(self, call: int, header: memoryview, rest: memoryview) -> tuple[str, Any]:
        name, args = content(header, rest)
        if type(name) is not str or type(args) is not tuple or call in self._calls:
            raise MalformedFrame("a call has no method, no arguments or the number of another")
        return name, args

    def _refused(self, call: int) -> bool:
        """Refuse a call where it cannot begin now."""
        crowded = len(self._calls) >= self._served.limits.calls
        if not crowded and not self._served.is_closing:
            return False
        reason = "it has its queue full" if crowded else "it is going away"
        self.send(self._chunks(frames.REFUSED, call, reason))
        return True

    def _run(self, call: int, work: Coroutine[Any, Any, None]) -> None:
        """Begin a call at once, and make a task of it only where it waits."""
        self._calls[call] = None
        self._served.under_way += 1
        ACTIVITY.mark()
        task = begin(work, self._loop)
        if task is not None:
            self._calls[call] = task
            self._served.keep(task)

    async def _answer(self, call: int, name: str, args: tuple[Any, ...]) -> None:
        try:
            kind, value = frames.ANSWER, await self._served.method(name)(*args)
        except BaseException as error:
            kind, value = frames.ERROR, self._error(call, error)
        self._finish(call, kind, value)
        del value  # an error holds this frame, which would hold the error

    async def _give(self, call: int, name: str, args: tuple[Any, ...]) -> None:
        await in_task()
        kind, value = frames.END, None
        try:
            async with aclosing(self._served.stream(name)(*args)) as values:
                await self._give_pieces(call, values)
        except BaseException as error:
            kind, value = frames.ERROR, self._error(call, error)
        self._finish(call, kind, value)
        del value  # an error holds this frame, which would hold the error

    async def _give_pieces(self, call: int, values: AsyncGenerator[Any, None]) -> None:
        credit = self._credits[call]
        while call in self._calls:  # a generator may swallow its cancellation
            await credit.spend()
            await self.writable()
            try:
                value = await anext(values)
            except StopAsyncIteration:
                return
            self.send(self._chunks(frames.PIECE, call, value))

    def _error(self, call: int, error: BaseException) -> AnabranchError | str:
        """Return the error of a call as the caller is told; raise it where nobody is."""
        is_awaited = isinstance(error, asyncio.CancelledError) and call in self._calls
        if isinstance(error, Exception) or is_awaited:
            return told(error)
        self._end(call)
        raise error

    def _finish(self, call: int, kind: int, value: Any) -> None:
        """Note the end of a call, and tell the caller if it still waits."""
        is_awaited = call in self._calls
        self._end(call)
        if not is_awaited:
            return
        try:
            chunks = self._chunks(kind, call, value)
        except Exception as error:
            chunks = self._chunks(frames.ERROR, call, told(error))
        self.send(chunks)

    def _end(self, call: int) -> None:
        self._calls.pop(call, None)
        self._credits.pop(call, None)
        self._served.under_way -= 1
        ACTIVITY.mark()

    def _cancel(self, call: int) -> None:
        task = self._calls.pop(call, None)
        if task is not None:
            task.cancel()

    def _chunks(self, kind: int, call: int, value: Any) -> list[Buffer]:
        return message(kind, call, self._served.under_way, value, self._most)
