from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest
from anabranch.router.signing import MAX_AGE_S, Signatures, SigningKey
from anabranch.router.table import RoutingTable

NOW = 1_790_000_000.0
NEWEST, USED, OLD = (SigningKey(id, id.encode() * 16, NOW) for id in ("k3", "k2", "k1"))


def signatures(*keys: SigningKey, graph: str = "demo", now: float = NOW) -> Signatures:
    return Signatures(graph, keys, lambda: now)


def checked(made: Signatures, by: Signatures, text: bytes = b"text") -> None:
    by.check(text, made.sign(text), made.key, made.now())


@given(st.binary(), st.text(max_size=20))
def test_what_was_signed_is_known_by_all_with_the_key(text: bytes, graph: str) -> None:
    made = signatures(USED, graph=graph)
    checked(made, signatures(NEWEST, USED, OLD, graph=graph), text)


@given(st.binary(), st.binary())
def test_a_signature_is_of_one_text(text: bytes, other: bytes) -> None:
    made = signatures(USED)
    assert (made.sign(text) == made.sign(other)) is (text == other)


def test_the_second_newest_key_signs_once_there_are_two() -> None:
    assert signatures(USED).key == "k2"
    assert signatures(NEWEST, USED, OLD).key == "k2"


def test_without_a_key_nothing_can_be_signed() -> None:
    with pytest.raises(ValueError, match="no key to sign for graph 'demo'"):
        signatures()


def test_a_key_that_is_unknown_is_told() -> None:
    with pytest.raises(InvalidRequest, match=r"does not have: .* or older than 30 days"):
        checked(signatures(OLD), signatures(NEWEST, USED))


def test_another_engine_has_other_secrets() -> None:
    theirs = SigningKey(USED.id, bytes(32), NOW)
    with pytest.raises(InvalidRequest, match="the signature of the routing is wrong"):
        checked(signatures(theirs), signatures(USED))


def test_a_graph_does_not_take_those_of_others() -> None:
    with pytest.raises(InvalidRequest, match="of another graph than 'demo'"):
        checked(signatures(USED, graph="other"), signatures(USED))


@pytest.mark.parametrize("signature", ["", "é", "A" * 44, "\N{SNOWMAN}"])
def test_any_text_may_come_as_a_signature(signature: str) -> None:
    with pytest.raises(InvalidRequest, match="the signature of the routing is wrong"):
        signatures(USED).check(b"text", signature, "k2", int(NOW))


def test_a_signature_is_good_for_some_time_and_for_clocks_that_differ() -> None:
    made = signatures(USED)
    checked(made, signatures(USED, now=NOW + MAX_AGE_S))
    checked(made, signatures(USED, now=NOW - 3600))
    with pytest.raises(InvalidRequest, match="older than 30 days"):
        checked(made, signatures(USED, now=NOW + MAX_AGE_S + 1))


def test_no_secret_shows_where_a_table_is_printed() -> None:
    table = RoutingTable("demo", 1, 1, {1: 100.0}, keys=(USED,))
    assert "k2" in repr(table)
    assert "secret" not in repr(table)
    assert repr(USED.secret)[2:-1] not in repr(table)
