"""Secrets do not stand in texts that leave their process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import masking
from anabranch.masking import LEAST, hide, masked


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
