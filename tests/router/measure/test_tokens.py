from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch.components.annotations import FIRST_RESULT, Annotations
from anabranch.router.inference.contract import InferenceResponse, OutputTensor
from anabranch.router.measure.tally import TokenSums
from anabranch.router.measure.tokens import AnswerTokens


def response(seconds: float, **outputs: Any) -> InferenceResponse:
    arrays = {name: np.atleast_1d(np.array(value)) for name, value in outputs.items()}
    tensors = [OutputTensor(name, "INT64", array) for name, array in arrays.items()]
    return InferenceResponse("demo", "1", None, tensors, seconds)


def seen(*responses: InferenceResponse, stream: bool = True) -> TokenSums:
    tokens, sums = AnswerTokens(), TokenSums()
    for one in responses:
        tokens.see(one)
    (tokens.streamed if stream else tokens.whole)(sums)
    return sums


def test_each_part_of_a_stream_is_a_token() -> None:
    sums = seen(*(response(0.1 * at) for at in range(1, 6)))
    assert (sums.answers, sums.prompt, sums.completion, sums.microseconds) == (1, 0, 5, 500_000)
    assert sums.first.quantile(0.5) == pytest.approx(0.1, rel=0.02)
    assert sums.further.quantile(0.5) == pytest.approx(0.1, rel=0.02)
    assert sums.per_second == 10


def test_counts_of_a_stream_are_those_so_far() -> None:
    told = [(2, 0.1), (4, 0.2), (9, 0.5), (0, 0.5)]
    sums = seen(*(response(at, prompt_tokens=3, completion_tokens=n) for n, at in told))
    assert (sums.prompt, sums.completion) == (3, 9)
    assert sums.further.quantile(0.5) == pytest.approx(0.4 / 8, rel=0.02)


def test_a_stream_of_one_token_has_no_further_ones() -> None:
    sums = seen(response(0.1))
    assert (sums.completion, sums.first.total, sums.further.total) == (1, 1, 0)


def test_a_stream_of_nothing_is_not_counted() -> None:
    assert seen() == TokenSums()


def test_an_answer_that_comes_whole_has_the_tokens_that_it_tells() -> None:
    sums = seen(response(0.5, prompt_tokens=[2, 3], completion_tokens=[4, 6]), stream=False)
    assert (sums.answers, sums.prompt, sums.completion, sums.per_second) == (1, 5, 10, 20)
    assert sums.first.total == sums.further.total == 0
    assert seen(response(0.5, other=3), stream=False) == TokenSums()


def test_an_answer_that_joins_a_stream_has_a_first_token() -> None:
    told = response(0.5, prompt_tokens=2, completion_tokens=4)
    told.annotations = Annotations()
    told.annotations.measure("chat", FIRST_RESULT, 0.2, "timer")
    sums = seen(told, stream=False)
    assert (sums.first.total, sums.further.total) == (1, 0)
    assert sums.first.quantile(0.5) == pytest.approx(0.2, rel=0.02)


def test_counts_of_0_are_not_known() -> None:
    unknown = [response(0.1 * at, prompt_tokens=0, completion_tokens=0) for at in (1, 2, 3)]
    assert (seen(*unknown).prompt, seen(*unknown).completion) == (0, 3)
    assert seen(unknown[0], stream=False) == TokenSums()


def test_what_is_no_count_is_not_counted() -> None:
    sums = seen(response(0.5, prompt_tokens=1.5, completion_tokens=[-4]), stream=False)
    assert (sums.prompt, sums.completion) == (0, 0)


def test_without_tokens_there_is_no_speed() -> None:
    assert TokenSums().per_second is None
