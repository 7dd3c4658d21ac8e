"""Choices: the texts of an answer, put together from pieces."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from anabranch.components.runtimes.stops import StopScanner
from anabranch.router.errors import UnencodableOutput
from anabranch.router.http.doors.openai.pieces import Piece, ToolCall

STOP, TOOL_CALLS = "stop", "tool_calls"
MAX_CALLS = 1024
"""Most tool calls of one text."""
_PARTS = frozenset({"index", "function"})
"""BodyFields of a part of a call that are put together in ways of their own."""


class TextChoice:
    """One text so far, with its tool calls and counts of tokens.

    Of a text that is streamed, neither pieces nor arguments are ``kept``.
    """

    def __init__(self, kept: bool = True) -> None:
        self._kept = kept
        self._texts: list[str] = []
        self._reason = ""
        self._calls: dict[int, ToolCall] = {}
        self._arguments: dict[int, list[str]] = {}
        self.logprobs: Any = None
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None

    def add(self, piece: Piece) -> Sequence[ToolCall]:
        """Add a piece; returns its tool calls with the index of each, as in a stream."""
        if piece.text and self._kept:
            self._texts.append(piece.text)
        self._reason = piece.finish_reason or self._reason
        self.logprobs = self.logprobs if piece.logprobs is None else piece.logprobs
        self.prompt_tokens = _most(self.prompt_tokens, piece.prompt_tokens)
        self.completion_tokens = _most(self.completion_tokens, piece.completion_tokens)
        return [self._called(call) for call in piece.tool_calls]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self._texts)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The whole calls, in order of their indices."""
        return [self._whole(index) for index in sorted(self._calls)]

    @property
    def finish_reason(self) -> str:
        """The graph's reason, else that of a text which has come to its end."""
        return self._reason or (TOOL_CALLS if self._calls else STOP)

    def _called(self, delta: ToolCall) -> ToolCall:
        """Add a tool call, or what more of one has come.

        One without index goes on with the last, unless it has an id or a name.
        """
        index, function = delta.get("index"), delta.get("function") or {}
        if not isinstance(index, int):
            begins = bool(delta.get("id") or function.get("name")) or not self._calls
            index = len(self._calls) if begins else max(self._calls)
        if index not in self._calls:
            if len(self._calls) >= MAX_CALLS:
                raise UnencodableOutput(f"output 'tool_calls' has more than {MAX_CALLS} calls")
            delta = {"id": f"call_{os.urandom(12).hex()}", "type": "function", **delta}
            self._calls[index], self._arguments[index] = {}, []
        if self._kept:
            self._keep(index, delta, function)
        return {**delta, "index": index}

    def _keep(self, index: int, delta: ToolCall, function: ToolCall) -> None:
        call = self._calls[index]
        call |= {name: value for name, value in delta.items() if value and name not in _PARTS}
        if function:
            named = {name: value for name, value in function.items() if value}
            call["function"] = {**call.get("function", {}), **named}
            self._arguments[index].append(function.get("arguments") or "")

    def _whole(self, index: int) -> ToolCall:
        """A call with all arguments that have come."""
        call = self._calls[index]
        if "function" not in call:
            return call
        function = {**call["function"], "arguments": "".join(self._arguments[index])}
        return {**call, "function": function}


def _most(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


async def cut(
    rows: AsyncGenerator[list[Piece], None],
    count: int,
    stops: Sequence[str],
    answered: Callable[[], None],
) -> AsyncGenerator[list[Piece], None]:
    """Cut each of ``count`` texts at its first stop sequence.

    Once all are cut, ``answered`` is called, and the stream ends.
    """
    scanners = [StopScanner(stops) for _ in range(count)]
    async with aclosing(rows):
        async for row in rows:
            yield [_cut(piece, one) for piece, one in zip(row, scanners, strict=True)]
            if all(one.stopped for one in scanners):
                answered()
                return
    held = [Piece(one.flush()) for one in scanners]
    if any(piece.text for piece in held):
        yield held


def _cut(piece: Piece, scanner: StopScanner) -> Piece:
    was_stopped, text = scanner.stopped, scanner.push(piece.text)
    if was_stopped:
        return Piece()
    if scanner.stopped:
        return replace(piece, text=text, finish_reason=STOP, tool_calls=())
    return piece if text == piece.text else replace(piece, text=text)


def usage(choices: Sequence[TextChoice], prompts: int) -> Mapping[str, int] | None:
    """The counts of tokens: those of each prompt once; None where the graph does not tell.

    Counts that are all 0 are not known, as ``components/runtimes/completions.py`` has it.
    """
    each = len(choices) // prompts
    asked = [
        next((one.prompt_tokens for one in part if one.prompt_tokens is not None), None)
        for part in (choices[at : at + each] for at in range(0, len(choices), each))
    ]
    made = [one.completion_tokens for one in choices if one.completion_tokens is not None]
    if not made or any(count is None for count in asked):
        return None
    prompt, completion = sum(count or 0 for count in asked), sum(made)
    if not prompt and not completion:
        return None
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
