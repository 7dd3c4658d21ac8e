"""Keys: random, fit for headers, and known by their digest."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from anabranch.access.keys import PREFIX, digest_of, make_key


def test_keys_are_long_and_never_the_same() -> None:
    made = {make_key() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(PREFIX + r"[A-Za-z0-9_-]{43}", key) for key in made)


@given(st.text())
def test_whatever_is_shown_has_a_digest(text: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", digest_of(text))
    assert digest_of(text.encode("utf-8", "surrogatepass")) == digest_of(text)
