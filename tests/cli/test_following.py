"""Which lines of a log are new."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.cli.following import new_lines


@pytest.mark.parametrize(
    ("seen", "now", "expected"),
    [
        ([], [], []),
        ([], ["a"], ["a"]),
        (["a"], ["a"], []),
        (["a"], ["a", "b"], ["b"]),
        (["a"], ["a", "a"], ["a"]),
        (["a", "b"], ["b", "c"], ["c"]),
        (["a", "x"], ["a", "b", "x", "y"], ["b", "y"]),
        (["a"], ["b", "c"], ["b", "c"]),
    ],
)
def test_new_lines(seen, now, expected):
    assert new_lines(seen, now) == expected


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_what_is_appended_is_new(seen, more):
    assert sorted(new_lines(seen, seen + more)) == sorted(more)
