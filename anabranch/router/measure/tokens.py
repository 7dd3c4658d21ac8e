"""Counts tokens of answers: those that a graph tells in its outputs, else the parts of a stream."""

from __future__ import annotations

from anabranch.router.core import InferenceResponse, OutputTensor
from anabranch.router.measure.tally import TokenSums

PROMPT, COMPLETION = "prompt_tokens", "completion_tokens"
"""Outputs, integers, in which a graph tells the tokens of its answer; in a stream, those so far."""


class AnswerTokens:
    """The tokens of one answer, response after response."""

    __slots__ = ("_completion", "_first", "_last", "_parts", "_prompt")

    def __init__(self) -> None:
        self._parts = 0
        self._first = self._last = 0.0
        self._prompt: int | None = None
        self._completion: int | None = None

    def see(self, response: InferenceResponse) -> None:
        """Look at a response, which says how long its evaluation has taken so far."""
        if not self._parts:
            self._first = response.seconds
        self._parts += 1
        self._last = response.seconds
        for output in response.outputs:
            if output.name == PROMPT:
                self._prompt = _most(self._prompt, output)
            elif output.name == COMPLETION:
                self._completion = _most(self._completion, output)

    def streamed(self, sums: TokenSums) -> None:
        """Add what was seen to the sums, as that of a stream: each part is a token at least."""
        if not self._parts:
            return
        completion = self._parts if self._completion is None else self._completion
        sums.first.add(self._first)
        if completion > 1:
            sums.further.add((self._last - self._first) / (completion - 1))
        sums.add(self._prompt or 0, completion, self._last)

    def whole(self, sums: TokenSums) -> None:
        """Add what was seen as that of an answer that came whole; nothing where none is told."""
        if self._completion is not None:
            sums.add(self._prompt or 0, self._completion, self._last)


def _most(before: int | None, output: OutputTensor) -> int | None:
    """The larger count; that of several texts in one answer is the sum. None for what is none."""
    array = output.array
    if array.dtype.kind not in "iu":
        return before
    return max(before or 0, int(array.sum()), 0)
