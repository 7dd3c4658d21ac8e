"""Counts tokens of answers: those that a graph tells in its outputs, else the parts of a stream."""

from __future__ import annotations

from anabranch.components.annotations import FIRST_RESULT
from anabranch.router.inference.contract import InferenceResponse, OutputTensor
from anabranch.router.measure.tally import TokenSums

PROMPT, COMPLETION = "prompt_tokens", "completion_tokens"
"""Outputs, integers, in which a graph tells the tokens of its answer; in a stream, those so far.

Counts that are not known are 0.
"""


class AnswerTokens:
    """The tokens of one answer, response after response."""

    __slots__ = ("_completion", "_first", "_joined", "_last", "_parts", "_prompt")

    def __init__(self) -> None:
        self._parts = 0
        self._first = self._last = 0.0
        self._joined: float | None = None
        self._prompt: int | None = None
        self._completion: int | None = None

    def see(self, response: InferenceResponse) -> None:
        """Look at a response, which says how long its evaluation has taken so far."""
        if not self._parts:
            self._first = response.seconds
            self._joined = _first_result(response)
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
        completion = self._completion or self._parts
        sums.first.add(self._first)
        if completion > 1:
            sums.further.add((self._last - self._first) / (completion - 1))
        sums.add(self._prompt or 0, completion, self._last)

    def whole(self, sums: TokenSums) -> None:
        """Add what was seen as that of an answer that came whole; nothing where none is told.

        If it was joined from the results of a node that streams, the first of them has a time, too.
        """
        if self._joined is not None:
            sums.first.add(self._joined)
        if self._completion:
            sums.add(self._prompt or 0, self._completion, self._last)


def _first_result(response: InferenceResponse) -> float | None:
    """Return the seconds until a node gave the first of the results that the answer joins."""
    measures = response.annotations.measures if response.annotations is not None else ()
    return next((one.value for one in measures if one.name == FIRST_RESULT), None)


def _most(before: int | None, output: OutputTensor) -> int | None:
    """The larger count; that of several texts in one answer is the sum. None for what is none."""
    array = output.array
    if array.dtype.kind not in "iu":
        return before
    return max(before or 0, int(array.sum()), 0)
