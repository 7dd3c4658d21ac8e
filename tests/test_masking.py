"""Secrets do not stand in texts that leave their process."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import masking
from anabranch.masking import LEAST, hide, masked, masked_json, safe_end


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_hidden", ())


def test_a_secret_is_masked_wherever_it_stands() -> None:
    assert masked("the token is tok-1234") == "the token is tok-1234"
    hide("tok-1234")
    assert masked("tok-1234, again tok-1234.") == "***, again ***."


def test_each_line_of_a_key_is_masked_by_itself() -> None:
    hide("-----BEGIN KEY-----\nabcdefgh\nij\n")
    assert masked("abcdefgh") == "***"
    assert masked("ij") == "ij"


def test_a_secret_that_holds_another_one_leaves_no_rest() -> None:
    hide("secret")
    hide("secret-and-more")
    assert masked("secret-and-more") == "***"


def test_what_is_too_short_would_stand_everywhere() -> None:
    hide("a" * (LEAST - 1))
    assert masked("banana") == "banana"


@given(st.lists(st.text(min_size=LEAST), min_size=1), st.lists(st.text()))
def test_no_secret_is_left(secrets: list[str], between: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_hidden", ())
        for secret in secrets:
            hide(secret)
        text = masked("\n".join([*between, *secrets]))
        assert not [one for one in secrets if one in text and one not in masking.MASK]


def test_a_text_is_not_cut_within_a_secret() -> None:
    assert safe_end("a line") == 6
    hide("secret")
    hide("key=sec")
    assert safe_end("a line of sec") == 10
    assert safe_end("a secret") == 8
    assert safe_end("s") == 0
    assert safe_end("a key=sec") == 2, "the whole secret stands around the begun one"


@given(st.lists(st.text("ab", min_size=LEAST, max_size=9), min_size=1), st.text("ab"), st.data())
def test_the_pieces_of_a_text_are_masked_as_the_whole_is(
    secrets: list[str], around: str, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_hidden", ())
        for secret in secrets:
            hide(secret)
        text = f"{around}{secrets[0]}{around}"
        end = safe_end(text[: data.draw(st.integers(0, len(text)))])
        assert masked(text[:end]) + masked(text[end:]) == masked(text)


AWKWARD = "pa\\ss\"w'\u00f6rd/1"


@pytest.mark.parametrize(
    "text",
    [
        f"{AWKWARD!r}", str(KeyError(AWKWARD)), json.dumps({"a": AWKWARD}),
        json.dumps({"a": AWKWARD}, ensure_ascii=False), f"http://me:{quote(AWKWARD, safe='')}@db",
        f"http://db/?key={quote(AWKWARD)}",
    ],
)  # fmt: skip
def test_a_secret_is_masked_in_the_forms_that_messages_give_it(text: str) -> None:
    hide(AWKWARD)
    assert "***" in masked(text)
    assert "rd" not in masked(text)


def test_a_secret_is_masked_within_json() -> None:
    document = b'{"message":"tok-1234","message2":[{"tok-1234":"a tok-1234","n":1.5}],"m":null}'
    assert masked_json(document) is document
    hide("tok-1234")
    hide("message")
    assert json.loads(masked_json(document)) == {
        "message": "***", "message2": [{"***": "a ***", "n": 1.5}], "m": None,
    }  # fmt: skip


def test_threads_that_hide_at_a_time_lose_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[bool] = []

    def spied(*args: Any, **options: Any) -> Any:
        alone.append(masking._hiding.locked())
        return sorted(*args, **options)

    monkeypatch.setattr(masking, "sorted", spied, raising=False)
    hide("tok-1234")
    assert alone == [True] and masked("tok-1234") == "***"
