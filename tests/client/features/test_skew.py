"""The differences between features that were served and those of the past."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.client.features.skew import distance_of, is_same
from anabranch.errors import InvalidRequest
from tests.client.features.feature_log import grown
from tests.client.features.test_export import run


def test_no_skew_where_both_see_the_same(tmp_path: Path) -> None:
    log = grown(tmp_path)
    log.insert(5, 1, 99, 9.9, "late")
    done = run("check", str(log.spec), "--from", str(log.log))
    assert done.startswith("0 7 rows of 5 requests")
    assert "profile.score  7     0          0.00%" in done


def test_rows_that_differ_are_told_with_both_values(tmp_path: Path) -> None:
    log = grown(tmp_path)
    # A row that arrived late: when it was served, nobody knew of it.
    log.insert(2.9, 1, 50, 0.7, "gold")
    words = ("check", str(log.spec), "--from", str(log.log), "-o", "json")
    code, _, text = run(*words).partition(" ")
    assert code == "1"
    found = json.loads(text)["features"]
    assert {name: one["different"] for name, one in found.items()} == {
        "profile.age": 1, "profile.score": 0, "profile.tier": 0,
    }  # fmt: skip
    (example,) = found["profile.age"]["examples"]
    assert (example["id"], example["row"], example["served"], example["past"]) == (
        "request-3", 1, 31, 50,
    )  # fmt: skip
    assert found["profile.age"]["largest_difference"] == 19
    assert run(*words, "--allow", "20").startswith("0 ")
    table = run("check", str(log.spec), "--from", str(log.log))
    assert "profile.age  request-3  1    2026-11-04T00:00:00+00:00  31      50" in table


def test_features_that_were_not_logged_cannot_be_compared(tmp_path: Path) -> None:
    log = grown(tmp_path)
    text = log.spec.read_text().replace("      - profile\n", "      - profile.age\n")
    log.spec.write_text(text)
    with pytest.raises(InvalidRequest, match="outputs of node 'profile' are not in the log"):
        run("check", str(log.spec), "--from", str(log.log))


elements = st.one_of(
    st.integers(), st.floats(), st.text(), st.booleans(), st.lists(st.floats(), max_size=3)
)


@given(elements, elements)
def test_every_element_is_the_same_as_itself_and_distances_are_finite(one, other) -> None:
    assert is_same(one, one)
    assert is_same(one, other) == is_same(other, one)
    assert 0 <= distance_of(one, other) < float("inf")
