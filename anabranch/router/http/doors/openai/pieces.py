"""Pieces of texts, read from the outputs of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from anabranch.router.errors import UnencodableOutput
from anabranch.router.inference.contract import InferenceResponse, OutputTensor
from anabranch.router.oip.plain_outputs import utf8_text

TEXT = "text"
_FINISH, _CALLS, _LOGPROBS = "finish_reason", "tool_calls", "logprobs"
_BESIDE = frozenset({_FINISH, _CALLS, _LOGPROBS})
"""Outputs of BYTES that are not the text."""
_PROMPT_TOKENS, _COMPLETION_TOKENS = "prompt_tokens", "completion_tokens"
_OTHERS = frozenset({*_BESIDE, _PROMPT_TOKENS, _COMPLETION_TOKENS})
_decode_calls = msgspec.json.Decoder(list[dict[str, Any]]).decode

ToolCall: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """A piece of one text, and what the graph says beside it."""

    text: str = ""
    finish_reason: str = ""
    tool_calls: Sequence[ToolCall] = ()
    logprobs: Any = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """So far."""

    @property
    def size(self) -> int:
        """Characters of the text and of the tool calls, about."""
        return len(self.text) + (len(repr(self.tool_calls)) if self.tool_calls else 0)


def pieces_of(response: InferenceResponse, count: int) -> list[Piece]:
    """Return the pieces in a response, one for each of ``count`` texts.

    Raises UnencodableOutput where the outputs are not those of so many texts.
    """
    outputs = {output.name: output for output in response.outputs}
    text = _text_output(response)
    if text is None and not outputs.keys() & _OTHERS:
        raise UnencodableOutput(
            f"graph {response.model_name!r} gives no text: it has no output 'text', and not one "
            "output of BYTES alone"
        )
    read = _Reader(outputs, count)
    return [
        Piece(
            "" if text is None else read.own_text(text, at),
            read.text(_FINISH, at),
            read.calls(at),
            read.json(_LOGPROBS, at),
            read.count(_PROMPT_TOKENS, at),
            read.count(_COMPLETION_TOKENS, at),
        )
        for at in range(count)
    ]


def _text_output(response: InferenceResponse) -> str | None:
    texts = [one.name for one in response.outputs if one.datatype == "BYTES"]
    if TEXT in texts:
        return TEXT
    texts = [name for name in texts if name not in _BESIDE]
    return texts[0] if len(texts) == 1 else None


@dataclass(frozen=True)
class _Reader:
    """Reads the element of an output that belongs to one of ``count`` texts."""

    outputs: dict[str, OutputTensor]
    total: int

    def text(self, name: str, at: int) -> str:
        text = utf8_text(self._element(name, at) or "")
        if text is None:
            raise UnencodableOutput(f"output {name!r} holds what is not text in UTF-8")
        return text

    def own_text(self, name: str, at: int) -> str:
        """The text itself, of which there must be as many as are asked for."""
        size = self.outputs[name].array.size
        if size != self.total:
            raise UnencodableOutput(f"output {name!r} has {size} texts instead of {self.total}")
        return self.text(name, at)

    def count(self, name: str, at: int) -> int | None:
        """A count of tokens; where there is one for all texts, the first has it."""
        output = self.outputs.get(name)
        if output is None or (output.array.size == 1 and at):
            return None
        found = self._element(name, at)
        if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
            return found
        raise UnencodableOutput(f"output {name!r} is no count: {found!r:.64}")

    def calls(self, at: int) -> Sequence[ToolCall]:
        text = self.text(_CALLS, at)
        if not text.strip():
            return ()
        return [_checked(call) for call in self._parsed(_CALLS, text, _decode_calls)]

    def json(self, name: str, at: int) -> Any:
        text = self.text(name, at)
        return self._parsed(name, text, msgspec.json.decode) if text.strip() else None

    def _parsed(self, name: str, text: str, decode: Any) -> Any:
        try:
            return decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise UnencodableOutput(
                f"output {name!r} is not the JSON it has to be: {error}"
            ) from None

    def _element(self, name: str, at: int) -> Any:
        output = self.outputs.get(name)
        if output is None:
            return ""
        flat = output.array.ravel().tolist()
        if len(flat) not in (1, self.total):
            raise UnencodableOutput(
                f"output {name!r} has {len(flat)} elements, and texts are {self.total}"
            )
        return flat[at if len(flat) == self.total else 0]


def _checked(call: ToolCall) -> ToolCall:
    """A call of a function with its arguments as text, as OpenAI has them."""
    function = call.get("function", {})
    if not isinstance(function, dict):
        raise UnencodableOutput(f"output {_CALLS!r} has a `function` that is no object")
    arguments = function.get("arguments")
    if arguments is None or isinstance(arguments, str):
        return call
    return {**call, "function": {**function, "arguments": msgspec.json.encode(arguments).decode()}}
