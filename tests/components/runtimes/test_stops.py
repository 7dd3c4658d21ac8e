from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.runtimes.stops import StopScanner

LETTERS = st.text("ab", max_size=12)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)


def said(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    scanner = StopScanner(stops)
    return "".join(map(scanner.push, pieces)) + scanner.flush(), scanner.stopped


def expected(text: str, stops: list[str]) -> tuple[str, bool]:
    """Letter by letter: the text up to the longest sequence that ends first."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


@given(st.lists(LETTERS, max_size=6), STOPS)
def test_pieces_make_no_difference(pieces: list[str], stops: list[str]) -> None:
    assert said(pieces, stops) == expected("".join(pieces), stops)


@given(st.lists(LETTERS, max_size=6), STOPS)
def test_only_what_may_begin_a_sequence_is_held(pieces: list[str], stops: list[str]) -> None:
    scanner, sent, come = StopScanner(stops), "", ""
    for piece in pieces:
        sent, come = sent + scanner.push(piece), come + piece
        if scanner.stopped:
            break
        held = come[len(sent) :]
        assert come == sent + held
        assert not held or any(stop.startswith(held) for stop in stops)


@pytest.mark.parametrize(
    ("pieces", "stops", "text"),
    [
        (["Hel", "lo", "!"], [], "Hello!"),
        (["a<", "/s", "><b"], ["</s>"], "a"),
        (["a<", "/s"], ["</s>"], "a</s"),
        (["abc"], ["abcd", "b"], "a"),
        (["ab"], ["b", "ab"], ""),
        (["caf", "é", "s"], ["és"], "caf"),
    ],
)
def test_examples(pieces: list[str], stops: list[str], text: str) -> None:
    assert said(pieces, stops)[0] == text
