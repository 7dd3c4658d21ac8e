"""Roles, and the patterns of graphs that each is for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.access.roles import ALLOWED, PATTERN, ROLES, Grant, allowed, roles_in
from tests.examples import examples

NAMES = st.text("ab/-", min_size=1, max_size=8)
PATTERNS = st.text("ab/-*", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("pattern", "graph", "covered"),
    [
        ("*", "", True),
        ("*", "shop", True),
        ("shop", "shop", True),
        ("shop", "shops", False),
        ("shop", "", False),
        ("team-a/*", "team-a/shop", True),
        ("team-a/*", "team-a/", True),
        ("team-a/*", "team-ab", False),
        ("team-a/*", "team-b/team-a/x", False),
        ("team-a-*", "team-a-", True),
        ("*-x", "-x", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*a", "aba", True),
        ("a*b*a", "abca", True),
        ("a*b*ba", "aba", False),
        ("**", "", False),
        ("**", "a", True),
        ("shop", "shop\n", False),
    ],
)
def test_patterns(pattern: str, graph: str, covered: bool) -> None:
    assert Grant("invoker", pattern).covers(graph) is covered


@pytest.mark.parametrize(
    ("own", "given_away", "covered"),
    [
        ("team-a/*", "*", False),
        ("team-a/*", "team-*", False),
        ("team-a/*", "team-a/x", True),
        ("team-a/*", "team-a/*-x", True),
        ("team-a/*", "team-a*", False),
        ("*", "*", True),
        ("**", "*", False),
        ("*-*", "*", False),
        ("*", "**", True),
        ("a*b", "a*c*b", True),
        ("a*c*b", "a*b", False),
    ],
)
def test_patterns_within_patterns(own: str, given_away: str, covered: bool) -> None:
    assert Grant("admin", own).covers(given_away) is covered


@settings(max_examples=examples(400))
@given(PATTERNS, NAMES)
def test_a_pattern_fits_as_its_regular_expression_does(pattern: str, name: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name)
    assert Grant("invoker", pattern).covers(name) is (expected is not None)


@settings(max_examples=examples(400))
@given(PATTERNS, PATTERNS, NAMES)
def test_nobody_gives_away_more_than_they_have(own: str, given_away: str, name: str) -> None:
    mine, theirs = Grant("admin", own), Grant("admin", given_away)
    if mine.covers(given_away):
        assert mine.covers(name) or not theirs.covers(name)
        assert mine.covers("") or not theirs.covers("")


def test_a_hostile_pattern_takes_no_time() -> None:
    """As a regular expression this one takes longer than the universe has."""
    assert not Grant("invoker", "*a" * 40 + "*b").covers("a" * 64)
    assert re.fullmatch(PATTERN, "*a" * 40 + "*b")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_allows_its_actions_where_it_holds(role: str) -> None:
    grants = [Grant(role, "team-a-*")]  # type: ignore[arg-type]
    assert allowed(grants, "team-a-shop") == ALLOWED[role]  # type: ignore[index]
    assert allowed(grants, "team-b-shop") == allowed(grants, "") == frozenset()


def test_roles_add_up() -> None:
    grants = [Grant("viewer"), Grant("invoker", "shop")]
    assert allowed(grants, "shop") == {"describe", "view", "call"}
    assert allowed(grants, "other") == {"describe", "view"}


def test_role_that_does_not_exist_allows_nothing() -> None:
    assert allowed([Grant("teacher"), Grant("viewer")], "shop") == ALLOWED["viewer"]  # type: ignore[arg-type]


def test_unknown_role_is_refused() -> None:
    for role in ("caller", "teacher"):
        with pytest.raises(ValueError):
            roles_in(role)
