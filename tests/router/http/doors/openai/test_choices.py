from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.router.errors import UnencodableOutput
from anabranch.router.http.doors.openai.choices import MAX_CALLS, TextChoice, usage
from anabranch.router.http.doors.openai.pieces import Piece

CALLS = st.lists(
    st.tuples(st.sampled_from(["add", "sub"]), st.dictionaries(st.text(max_size=3), st.integers())),
    max_size=3,
)


def whole(name: str, arguments: Any, index: int) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"id {index}", "type": "function", "function": function}


@given(CALLS, st.data())
def test_deltas_of_calls_make_the_calls(calls: list[tuple[str, Any]], data: st.DataObject) -> None:
    expected = [whole(name, arguments, at) for at, (name, arguments) in enumerate(calls)]
    choice, streamed = TextChoice(), TextChoice(kept=False)
    seen: dict[int, str] = {}
    for at, call in enumerate(expected):
        text = call["function"]["arguments"]
        cut = data.draw(st.integers(0, len(text)))
        first = {**call, "function": {**call["function"], "arguments": text[:cut]}}
        for delta in (first, {"function": {"arguments": text[cut:]}}):
            if data.draw(st.booleans()):
                delta = {**delta, "index": at}
            choice.add(Piece(tool_calls=[delta]))
            for sent in streamed.add(Piece(tool_calls=[delta])):
                part = sent["function"]["arguments"]
                seen[sent["index"]] = seen.get(sent["index"], "") + part
    assert choice.tool_calls == expected
    assert seen == {at: call["function"]["arguments"] for at, call in enumerate(expected)}
    assert choice.finish_reason == streamed.finish_reason == ("tool_calls" if calls else "stop")


def test_calls_are_bounded() -> None:
    choice = TextChoice()
    for _ in range(MAX_CALLS):
        choice.add(Piece(tool_calls=[{"function": {"name": "f"}}]))
    with pytest.raises(UnencodableOutput, match="more than 1024 calls"):
        choice.add(Piece(tool_calls=[{"function": {"name": "f"}}]))


def test_a_streamed_text_is_not_kept() -> None:
    choice = TextChoice(kept=False)
    choice.add(Piece("a" * 1000, tool_calls=[{"function": {"name": "f", "arguments": "b" * 1000}}]))
    assert choice.text == ""
    assert choice.tool_calls == [{}]


def counted(*tokens: tuple[int | None, int | None]) -> list[TextChoice]:
    choices = [TextChoice() for _ in tokens]
    for choice, (prompt, completion) in zip(choices, tokens, strict=True):
        choice.add(Piece(prompt_tokens=prompt, completion_tokens=completion))
    return choices


@pytest.mark.parametrize(
    ("tokens", "prompts", "expected"),
    [
        ([(3, 4)], 1, (3, 4)),
        ([(3, 4), (3, 5)], 1, (3, 9)),
        ([(3, 4), (3, 5), (7, 1), (7, 1)], 2, (10, 11)),
        ([(3, 9), (None, None)], 1, (3, 9)),
        ([(None, 4)], 1, None),
        ([(0, 4)], 1, (0, 4)),
        ([(0, 0), (0, 0)], 1, None),
        ([(3, None)], 1, None),
        ([(3, 1), (None, 1)], 2, None),
    ],
)
def test_usage(tokens: Any, prompts: int, expected: tuple[int, int] | None) -> None:
    found = usage(counted(*tokens), prompts)
    if expected is None:
        assert found is None
    else:
        prompt, completion = expected
        assert found == {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
