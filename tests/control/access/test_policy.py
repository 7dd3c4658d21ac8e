"""The policy document: what it says, and its mistakes with their places."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.access.limits import CallerLimits, LimitRule
from anabranch.access.roles import Grant
from anabranch.control.access.policy import read_policy
from anabranch.errors import SpecError

GOOD = """\
apiVersion: anabranch/v1
kind: AccessPolicy
anonymous:
  - {role: invoker, graphs: [demo-*]}
rules:
  - {certificate: trainer, role: deployer, graphs: [digits, "team-a/*"]}
  - {key: ci, role: operator}
"""


def test_a_policy_says_who_has_which_role() -> None:
    found = read_policy(GOOD)
    assert found.anonymous is not None
    assert [list(rule.grants()) for rule in found.anonymous] == [[Grant("invoker", "demo-*")]]
    assert [rule.who for rule in found.rules] == [[("certificate", "trainer")], [("key", "ci")]]
    deployer = [Grant("deployer", "digits"), Grant("deployer", "team-a/*")]
    assert [list(rule.grants()) for rule in found.rules] == [deployer, [Grant("operator")]]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("role: operator", "role: boss", "policy.yaml:7:15: rules.1.role: "),
        ("key: ci", "kee: ci", "policy.yaml:7:6: rules.1.kee: "),
        ("key: ci", "key: ''", "policy.yaml:7:6: rules.1.key: "),
        ("digits", "Digits", "policy.yaml:6:53: rules.0.graphs.0: "),
        ("[digits,", "[,", "policy.yaml:6:"),
        ("AccessPolicy", "InferenceGraph", "policy.yaml:2:1: kind: "),
        ("anabranch/v1", "anabranch/v2", "policy.yaml:1:1: apiVersion: "),
        ("certificate: trainer, ", "", "names exactly one of key, certificate, subject, group"),
        ("key: ci", "key: ci, group: ml", "this one names key, group"),
    ],
)
def test_mistakes_are_named_with_their_places(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(SpecError) as caught:
        read_policy(GOOD.replace(old, new), "policy.yaml")
    assert said in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    wrong = GOOD.replace("operator", "boss").replace("invoker", "collar")
    with pytest.raises(SpecError) as caught:
        read_policy(wrong)
    assert [str(one).split(":")[1] for one in caught.value.problems] == ["4", "7"]


@pytest.mark.parametrize("text", ["[]", "7", "rules: 7", "rules: [7]", "{", "a: &a [*a]", "\x00"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        read_policy(text)


@given(st.text(max_size=60))
def test_any_text_is_a_policy_or_has_mistakes(text: str) -> None:
    try:
        read_policy(text)
    except SpecError as error:
        assert error.problems


def test_limits_are_rules_in_their_order() -> None:
    text = """
    limits:
      - {caller: ci, graphs: [shop, demo-*], rate: 5, burst: 9}
      - {in_flight: 2, tokens_per_minute: 600}
    """
    rules = [rule for one in read_policy(text).limits for rule in one.rules()]
    first = CallerLimits(rate=5.0, burst=9)
    assert rules == [
        LimitRule("ci", "shop", first),
        LimitRule("ci", "demo-*", first),
        LimitRule(None, "*", CallerLimits(in_flight=2, tokens_per_minute=600)),
    ]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("caller: ci", "limits.0: says no limit: give rate, in_flight or tokens_per_minute"),
        ("burst: 3", "limits.0: burst needs a rate"),
        ("rate: 0", "limits.0.rate"),
        ("rate: 1, graphs: []", "limits.0.graphs"),
        ("rat: 1", "limits.0.rat"),
    ],
)
def test_limits_that_make_no_sense_are_named(limit: str, said: str) -> None:
    with pytest.raises(SpecError, match=re.escape(said)):
        read_policy(f"limits: [{{{limit}}}]")
