"""The caller's end of a connection: calls and streams to one replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, TypeAlias

from anabranch.errors import AnabranchError, TooLarge
from anabranch.router.between_nodes import CALLING_MS
from anabranch.serve.streams import frames
from anabranch.serve.streams.at_once import rest
from anabranch.serve.streams.channel import FrameChannel
from anabranch.serve.streams.frames import Buffer, MalformedFrame, frame
from anabranch.serve.streams.greeting import (
    Challenge,
    Proof,
    Welcome,
    check_welcome,
    decoded,
    encoded,
    prove,
)
from anabranch.serve.streams.limits import CallLimits
from anabranch.serve.streams.lost import CallLost
from anabranch.serve.streams.messages import (
    TooLargeToCross,
    content,
    credit,
    heard,
    message,
    told,
)
from anabranch.serve.streams.pieces import IncomingPieces
from anabranch.serve.streams.values import CannotCross

_Waiting: TypeAlias = asyncio.Future[Any] | IncomingPieces
LOAD_S = 1.0
"""How long it counts what a replica has told of others' calls: it may get no call, and so tell no
more, for as long as it seems to be busy.
"""
_GONE = "the connection to it is lost"
_NOT_GREETED = "it closed the connection before it knew the caller"


class Link(FrameChannel):
    """A connection to one replica, made by ``connect``; ``name`` is that of its segment.

    It belongs to the event loop that it was made on. Values that are given are read when a call is
    made, and may change afterwards.
    """

    _calls: dict[int, _Waiting]

    def __init__(self, name: str, secret: bytes, limits: CallLimits) -> None:
        super().__init__(CALLING_MS)
        self._name = name
        self._secret = secret
        self._limits = limits
        self._most = 0
        self._most_calls = 0
        self._number = 0
        self._others = 0
        self._forgotten = 0.0
        """When others' calls are no longer counted, on the clock of the loop."""
        self.going_away = False
        """Whether no further calls may be made."""
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Done once calls may be made; CallLost if that will never be."""
        self._takers = {frames.CHALLENGE: self._take_challenge}

    @property
    def load(self) -> int:
        """Calls under way in the replica: this link's, and others' if it has just told of them."""
        told = self._others if self._loop.time() < self._forgotten else 0
        return told + len(self._calls)

    async def call(self, method: str, *args: Any) -> Any:
        """Return the answer of a method; cancelling this cancels it there.

        Raises the method's error if it is one of ours and NodeError for any other; and CallLost,
        also where too many calls of this connection are under way.
        """
        answer = self._loop.create_future()
        number = await self._begin(frames.CALL, answer, method, args)
        try:
            return await answer
        finally:
            self._leave(number)
            del answer  # its error holds this frame, which would hold the error

    def stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        """Give what a method yields; closing this closes it there. Raises as ``call`` does.

        The method makes at most AHEAD values that were not taken here.
        """
        pieces = IncomingPieces(self._loop)
        begin = partial(self._begin, frames.STREAM, pieces, method, args)
        return pieces.taken(begin, self._grant, self._leave)

    def _grant(self, number: int, pieces: int) -> None:
        self.send(credit(number, pieces, frames.CREDIT))

    def close(self) -> None:
        """Close the connection; calls that are under way are lost, and cancelled there."""
        self.abort()

    def leave(self) -> None:
        """Make no further calls, and close the connection once those under way have ended."""
        self.going_away = True
        self._go_if_idle()

    def give_up(self) -> None:
        """Close the connection, whether or not it is there yet: no calls will be made."""
        self.ready.cancel()
        self.abort()

    async def _begin(self, kind: int, waiting: _Waiting, method: str, args: tuple[Any, ...]) -> int:
        """Send a call as soon as the replica keeps up, and return its number."""
        self._check()
        self._number = number = self._number + 1
        chunks = self._message(kind, number, method, args)
        if not self._writable.is_set():
            chunks = [rest(chunks, 0)]
            await self.writable()
            self._check()
        self._calls[number] = waiting
        self.send(chunks)
        return number

    def _check(self) -> None:
        """Raise the error of a call that cannot be made now."""
        if self.closed or self.going_away:
            raise self._lost("it is going away" if self.going_away else _GONE, False)
        if len(self._calls) >= self._most_calls:
            raise CallLost(f"segment {self._name!r} has its queue full", False)

    def _message(self, kind: int, number: int, method: str, args: tuple[Any, ...]) -> list[Buffer]:
        try:
            return message(kind, number, method, args, self._most)
        except CannotCross as error:
            raise heard(self._name, told(error)) from None
        except TooLargeToCross as large:
            raise TooLarge(f"a call to segment {self._name!r}: {large}") from None

    def _leave(self, number: int) -> None:
        """Cancel a call there if it is still under way."""
        if self._calls.pop(number, None) is not None:
            self.send(frame(frames.CANCEL, number))
            self._go_if_idle()

    def _lost(self, reason: str, may_have_run: bool) -> CallLost:
        return CallLost(f"segment {self._name!r} cannot answer now: {reason}", may_have_run)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone: no call gets an answer any more."""
        super().connection_lost(error)
        if not self.ready.done():
            self.ready.set_exception(self._lost(_NOT_GREETED, False))
        waiting, self._calls = list(self._calls.values()), {}
        for one in waiting:
            _fail(one, self._lost(_GONE, True))

    def _take_challenge(self, call: int, header: memoryview, rest: memoryview) -> None:
        given = decoded(header, Challenge)
        proof = prove(given, self._secret, self._limits.bytes)
        self.send(frame(frames.PROOF, 0, encoded(proof)))
        self._takers = {frames.WELCOME: partial(self._take_welcome, given, proof)}

    def _take_welcome(
        self, given: Challenge, proof: Proof, call: int, header: memoryview, rest: memoryview
    ) -> None:
        answer = decoded(header, Welcome)
        check_welcome(given, proof, answer, self._secret)
        self._most = answer.most
        self._note(answer.load)
        self._most_calls = min(answer.calls, self._limits.calls)
        self._reader.most = self._limits.bytes
        self._takers = {
            frames.ANSWER: self._take_answer,
            frames.PIECE: self._take_piece,
            frames.END: self._take_end,
            frames.ERROR: self._take_error,
            frames.REFUSED: self._take_refusal,
            frames.GOING_AWAY: self._take_going_away,
        }
        if not self.ready.done():
            self.ready.set_result(None)

    def _take_answer(self, call: int, header: memoryview, rest: memoryview) -> None:
        load, value = content(header, rest)
        waiting = self._calls.get(call)
        if isinstance(waiting, IncomingPieces):
            raise MalformedFrame("a stream is answered like a call")
        self._ended(call, load)
        if waiting is not None and not waiting.done():
            waiting.set_result(value)

    def _take_piece(self, call: int, header: memoryview, rest: memoryview) -> None:
        pieces = self._calls.get(call)
        if pieces is None:
            return
        if not isinstance(pieces, IncomingPieces):
            raise MalformedFrame("a call is answered with a piece of a stream")
        pieces.put(content(header, rest)[1])

    def _take_end(self, call: int, header: memoryview, rest: memoryview) -> None:
        load, _ = content(header, rest)
        pieces = self._calls.get(call)
        if not isinstance(pieces, IncomingPieces | None):
            raise MalformedFrame("a call ends like a stream")
        self._ended(call, load)
        if pieces is not None:
            pieces.end()

    def _take_error(self, call: int, header: memoryview, rest: memoryview) -> None:
        load, error = content(header, rest)
        if not isinstance(error, AnabranchError | str):
            raise MalformedFrame("an error is neither one of ours nor a text")
        _fail(self._ended(call, load), heard(self._name, error))

    def _take_refusal(self, call: int, header: memoryview, rest: memoryview) -> None:
        load, reason = content(header, rest)
        _fail(self._ended(call, load), self._lost(str(reason), False))

    def _take_going_away(self, call: int, header: memoryview, rest: memoryview) -> None:
        self.leave()

    def _ended(self, call: int, load: Any) -> _Waiting | None:
        """Note the end of a call, and return what waits for it, if anything does."""
        if type(load) is not int or load < 0:
            raise MalformedFrame("a load is no number")
        waiting = self._calls.pop(call, None)
        self._note(load - len(self._calls))
        self._go_if_idle()
        return waiting

    def _note(self, others: int) -> None:
        self._others = max(0, others)
        self._forgotten = self._loop.time() + LOAD_S

    def _go_if_idle(self) -> None:
        """Let a replica go that wants to, once it owes no answer."""
        if self.going_away and not self._calls:
            self.end()


def _fail(waiting: _Waiting | None, error: AnabranchError) -> None:
    if isinstance(waiting, IncomingPieces):
        waiting.end(error)
    elif waiting is not None and not waiting.done():
        waiting.set_exception(error)
