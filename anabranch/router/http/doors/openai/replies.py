"""Documents of answers: whole ones, and the chunks of a stream."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from anabranch.router.http.doors.openai.choices import TextChoice, usage
from anabranch.router.http.doors.openai.pieces import Piece, ToolCall

Json: TypeAlias = dict[str, Any]
DONE = b"[DONE]"
"""The last event of a stream that came to its end."""


@dataclass(frozen=True)
class Replies:
    """Answers of one request; ``created`` is in seconds since 1970.

    BodyFields as in ``openai/types/completion.py`` of OpenAI's Python package.
    """

    id: str
    model: str
    revision: str
    created: int = field(default_factory=lambda: int(time.time()))

    prefix = "cmpl-"
    whole_object = chunk_object = "text_completion"

    def whole(self, choices: Sequence[TextChoice], prompts: int) -> bytes:
        """The answer with all choices."""
        found = [
            {
                "index": index,
                **self._content(choice),
                "logprobs": choice.logprobs,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(choices)
        ]
        counts = usage(choices, prompts)
        told = {} if counts is None else {"usage": counts}
        return orjson.dumps({**self._envelope(self.whole_object), "choices": found, **told})

    def first(self, index: int) -> bytes | None:
        """The chunk that opens a choice, if there is one."""
        return None

    def piece(self, index: int, piece: Piece, calls: Sequence[ToolCall]) -> bytes | None:
        """The chunk of a piece; None where nothing in it is new."""
        if not piece.text and piece.logprobs is None:
            return None
        return self._chunk(index, {"text": piece.text}, piece.logprobs)

    def last(self, index: int, choice: TextChoice) -> bytes:
        """The chunk that says why a choice has ended."""
        return self._chunk(index, {"text": ""}, None, choice.finish_reason)

    def usage(self, counts: Mapping[str, int]) -> bytes:
        """The chunk after all choices that tells the usage."""
        document = {**self._envelope(self.chunk_object), "choices": [], "usage": counts}
        return orjson.dumps(document)

    def _content(self, choice: TextChoice) -> Json:
        return {"text": choice.text}

    def _chunk(self, index: int, content: Json, logprobs: Any, reason: str | None = None) -> bytes:
        choice = {"index": index, **content, "logprobs": logprobs, "finish_reason": reason}
        return orjson.dumps({**self._envelope(self.chunk_object), "choices": [choice]})

    def _envelope(self, kind: str) -> Json:
        return {
            "id": f"{self.prefix}{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"r{self.revision}",
        }


class ChatReplies(Replies):
    """Answers of chat, as in ``openai/types/chat/chat_completion.py`` and ``…_chunk.py``."""

    prefix = "chatcmpl-"
    whole_object, chunk_object = "chat.completion", "chat.completion.chunk"

    def first(self, index: int) -> bytes | None:
        """The chunk with the role."""
        return self._chunk(index, {"delta": {"role": "assistant", "content": ""}}, None)

    def piece(self, index: int, piece: Piece, calls: Sequence[ToolCall]) -> bytes | None:
        """The chunk of a piece; None where nothing in it is new."""
        delta: Json = {"content": piece.text} if piece.text else {}
        if calls:
            delta["tool_calls"] = calls
        if not delta and piece.logprobs is None:
            return None
        return self._chunk(index, {"delta": delta}, piece.logprobs)

    def last(self, index: int, choice: TextChoice) -> bytes:
        """The chunk that says why a choice has ended."""
        return self._chunk(index, {"delta": {}}, None, choice.finish_reason)

    def _content(self, choice: TextChoice) -> Json:
        calls = choice.tool_calls
        content = choice.text or (None if calls else "")
        message: Json = {"role": "assistant", "content": content, "refusal": None}
        return {"message": {**message, "tool_calls": calls} if calls else message}


async def chunks(
    pieces: AsyncGenerator[tuple[int, Piece], None],
    replies: Replies,
    choices: Sequence[TextChoice],
    prompts: int,
    includes_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """Yield the documents of a stream; the first one once there is a first piece."""
    opened: set[int] = set()
    async with aclosing(pieces):
        async for index, piece in pieces:
            if index not in opened:
                opened.add(index)
                if (opening := replies.first(index)) is not None:
                    yield opening
            calls = choices[index].add(piece)
            if (chunk := replies.piece(index, piece, calls)) is not None:
                yield chunk
    for index, choice in enumerate(choices):
        yield replies.last(index, choice)
    counts = usage(choices, prompts)
    if includes_usage and counts is not None:
        yield replies.usage(counts)
    yield DONE
