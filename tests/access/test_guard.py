"""Who asks, by what is shown, and what that allows."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.access.failures import BURST, Failures
from anabranch.access.guard import MAX_KNOWN, MAX_SHOWN, NOTHING, Credentials, Guard
from anabranch.access.identity import TOKEN, Identity
from anabranch.access.keys import digest_of, make_key
from anabranch.access.roles import ACTIONS, ALLOWED, ROLES, Action, Grant, Role
from anabranch.access.table import CLOSED, OPEN, AccessTable, KnownKey
from anabranch.errors import Forbidden, TooManyRequests, Unauthenticated
from tests.clock import Clock

KEY = make_key()
OPEN_DOOR = (Grant("invoker"), Grant("feedback"))


def shown(secret: str, scheme: str = "Bearer") -> Credentials:
    return Credentials(f"{scheme} {secret}".encode())


def table(
    *grants: Grant, expires_at: float | None = None, anonymous: tuple[Grant, ...] = ()
) -> AccessTable:
    known = KnownKey(Identity("key", "ci", grants), expires_at)
    return AccessTable(1, {digest_of(KEY): known}, anonymous)


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize("role", ROLES)
def test_a_key_allows_what_its_role_does_on_its_graphs(role: Role, action: Action) -> None:
    made = table(Grant(role, "team-a-*"))
    own, other = Guard(made, "team-a-shop"), Guard(made, "team-b-shop")
    if action in ALLOWED[role]:
        assert own.check(action, shown(KEY)).name == "ci"
    else:
        with pytest.raises(Forbidden, match=f"key 'ci' may not {action} on graph 'team-a-shop'"):
            own.check(action, shown(KEY))
    for guard, graph in ((other, "team-b-shop"), (other, "")):
        with pytest.raises(Forbidden):
            guard.check(action, shown(KEY))
        with pytest.raises(Forbidden):
            guard.check_of(graph, action, shown(KEY))


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        (shown(KEY, "Basic"), "must be a bearer token"),
        (shown(KEY, "Bearer:"), "must be a bearer token"),
        (Credentials(b""), "must be a bearer token"),
        (Credentials(KEY.encode()), "must be a bearer token"),
        (Credentials(b"Bearer"), "not known"),
        (shown(KEY[:-1]), "not known"),
        (shown(KEY + "x"), "not known"),
        (shown(KEY.swapcase()), "not known"),
        (shown(f"{KEY} {KEY}"), "not known"),
        (Credentials(b"Bearer \xff\x00"), "not known"),
        (shown(KEY + " " * MAX_SHOWN), f"at most {MAX_SHOWN} bytes"),
    ],
)
def test_what_is_no_known_key_opens_nothing(credentials: Credentials, said: str) -> None:
    guard = Guard(table(Grant("admin")), "shop")
    with pytest.raises(Unauthenticated, match=said):
        guard.check("call", credentials)
    with pytest.raises(Unauthenticated, match=said):
        guard.identify(credentials)


@given(st.binary(max_size=80))
def test_whatever_is_shown_is_nobody_or_refused(data: bytes) -> None:
    guard = Guard(table(Grant("admin"), anonymous=OPEN_DOOR), "shop")
    assert guard.check("call", Credentials(data)).kind == "anonymous"
    with pytest.raises(Unauthenticated):
        guard.check("deploy", Credentials(data))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("space", ["", " ", "\t"])
def test_the_scheme_and_the_space_around_a_key_do_not_matter(scheme: str, space: str) -> None:
    guard = Guard(table(Grant("invoker")), "shop")
    assert guard.check("call", shown(f"{space}{KEY}{space}", scheme)).name == "ci"


def test_an_unknown_key_counts_as_none_where_nobody_needs_one() -> None:
    guard = Guard(table(anonymous=OPEN_DOOR), "shop")
    for _ in range(BURST + 5):
        assert guard.check("call", shown("other"), "10.0.0.1").kind == "anonymous"
        assert guard.check_of("shop", "feedback", shown("other")).kind == "anonymous"


def test_without_a_key_it_is_said_which_role_it_takes() -> None:
    guard = Guard(table(), "shop")
    with pytest.raises(Unauthenticated, match="a key with the role operator or admin: Authorizat"):
        guard.check("operate", NOTHING)


def test_a_key_counts_until_it_expires() -> None:
    clock = Clock(99.0)
    guard = Guard(table(Grant("invoker"), expires_at=100.0), "shop", clock)
    guard.check("call", shown(KEY))
    clock.now = 100.0
    with pytest.raises(Unauthenticated, match="key 'ci' has expired"):
        guard.check("call", shown(KEY))
    guard.apply(table(Grant("invoker"), expires_at=101.0))
    guard.check("call", shown(KEY))


def test_another_table_is_in_force_at_once() -> None:
    guard = Guard(table(Grant("invoker")), "shop")
    guard.check("call", shown(KEY))
    guard.apply(table(Grant("viewer")))
    with pytest.raises(Forbidden):
        guard.check("call", shown(KEY))
    guard.apply(AccessTable(3))
    with pytest.raises(Unauthenticated, match="not known, or was revoked"):
        guard.check("call", shown(KEY))


def test_before_the_first_table_nobody_may_anything() -> None:
    guard = Guard(CLOSED, "shop")
    for credentials in (NOTHING, shown(KEY), Credentials(None, b"trainer")):
        with pytest.raises((Unauthenticated, Forbidden)):
            guard.check("describe", credentials)


def test_where_somebody_else_decides_all_is_allowed() -> None:
    guard = Guard(OPEN, "shop")
    for action in ACTIONS:
        guard.check(action, NOTHING)
        guard.check(action, shown("any"))


def test_certificates_have_the_roles_that_rules_give() -> None:
    made = AccessTable(1, {}, (Grant("viewer"),), {("certificate", "trainer"): (Grant("invoker"),)})
    guard = Guard(made, "shop")
    assert str(guard.check("call", Credentials(None, b"trainer"))) == "certificate 'trainer'"
    guard.check("view", Credentials(None, b"other"))
    with pytest.raises(Forbidden):
        guard.check("call", Credentials(None, b"other"))


def test_a_key_counts_before_a_certificate() -> None:
    made = AccessTable(
        1,
        {digest_of(KEY): KnownKey(Identity("key", "ci", (Grant("viewer"),)))},
        (),
        {("certificate", "trainer"): (Grant("admin"),)},
    )
    both = Credentials(shown(KEY).authorization, b"trainer")
    assert Guard(made).check("view", both).kind == "key"
    with pytest.raises(Unauthenticated):
        Guard(made).check("view", Credentials(b"Bearer x", b"trainer"))


def test_who_tries_keys_is_told_to_wait_and_who_has_one_is_not() -> None:
    guard = Guard(table(Grant("invoker")), "shop", failures=Failures(Clock()))
    for number in range(BURST):
        with pytest.raises(Unauthenticated):
            guard.check("call", shown(f"try{number}"), "10.0.0.1")
    with pytest.raises(TooManyRequests):
        guard.check("call", shown("try"), "10.0.0.1")
    guard.check("call", shown(KEY), "10.0.0.1")
    with pytest.raises(Unauthenticated):
        guard.check("call", NOTHING, "10.0.0.1")


def test_keys_that_are_made_up_take_no_memory() -> None:
    guard = Guard(table(Grant("invoker"), anonymous=OPEN_DOOR), "shop")
    before = sys.getsizeof(guard._known)
    for number in range(MAX_KNOWN):
        guard.check("call", shown(str(number)))
    assert sys.getsizeof(guard._known) == before


def test_known_credentials_are_bounded() -> None:
    guard = Guard(AccessTable(1, {}, OPEN_DOOR), "shop")
    for number in range(MAX_KNOWN + 10):
        guard.check("call", Credentials(None, str(number).encode()))
    assert len(guard._known) <= MAX_KNOWN


def test_the_engine_s_token_may_all() -> None:
    guard = Guard(AccessTable(1, {digest_of("secret"): KnownKey(TOKEN)}))
    for action in ACTIONS:
        assert str(guard.check(action, shown("secret"))) == "the engine's token"
