from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.router.table import Part, app_name, parse_app, router_app
from tests.strategies import graph_names

parts = st.sampled_from(["router", "segments", "head"])


@given(graph_names, parts, st.integers(1, 10**9 - 1))
def test_app_names_are_read_back(graph: str, part: Part, revision: int) -> None:
    name = app_name(graph, part, revision)
    assert parse_app(name) == (graph, part, None if part == "router" else revision)
    assert "/" not in name and name.startswith(router_app(graph))


@given(graph_names, graph_names, parts, parts, st.integers(1, 3), st.integers(1, 3))
def test_no_two_parts_share_an_app(
    one: str, two: str, part: Part, other: Part, first: int, second: int
) -> None:
    mine, theirs = app_name(one, part, first), app_name(two, other, second)
    assert (mine == theirs) == (parse_app(mine) == parse_app(theirs))


@pytest.mark.parametrize(
    "name",
    ["anabranch.gateway", "anabranch.pool.a_b", "default.x", "a.r1.tail", "a_", "_a", "a_b_c", "A"],
)
def test_other_apps_are_not_ours(name: str) -> None:
    assert parse_app(name) is None
