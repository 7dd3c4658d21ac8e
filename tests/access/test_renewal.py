from __future__ import annotations

import asyncio
import pickle
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from anabranch.access import renewal
from anabranch.access.failures import BURST
from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import Identity
from anabranch.access.issuers import IssuerKey, UnknownSigner
from anabranch.access.renewal import KeyRenewal
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable
from anabranch.errors import Forbidden, TooManyRequests, Unauthenticated
from tests.access.oidc import NOW, claims, signer
from tests.access.test_jwt import HERE, ISSUER, keys_of
from tests.clock import Clock

RULES = {
    ("subject", "ada"): (Grant("invoker", "shop"),),
    ("group", "makers"): (Grant("deployer", "shop-*"),),
}
TABLE = AccessTable(1, ruled=RULES, issuers=(ISSUER,))


def shown(token: str) -> Credentials:
    return Credentials(f"Bearer {token}".encode())


def table(*keys: IssuerKey, anonymous: tuple[Grant, ...] = ()) -> AccessTable:
    return replace(TABLE, issuers=(replace(ISSUER, keys=keys),), anonymous=anonymous)


class Controller:
    """Puts the keys in force that an issuer has, each time that it is asked."""

    def __init__(self, *keys: IssuerKey) -> None:
        self.keys = keys
        self.guard: Guard
        self.asked: list[tuple[str, str]] = []

    async def renew(self, issuer: str, kid: str) -> None:
        self.asked.append((issuer, kid))
        await asyncio.sleep(0)
        self.guard.apply(table(*self.keys))


def guarded(controller: Controller, graph: str = "shop") -> Guard:
    controller.guard = Guard(table(), graph, Clock(NOW), renew=controller.renew)
    return controller.guard


async def called(guard: Guard, token: str, address: str = "") -> Identity:
    return await guard.renewed(lambda one: guard.check("call", one, address), shown(token))


def test_subjects_have_the_roles_of_their_rules_and_groups() -> None:
    token = shown(signer().token(claims(HERE)))
    found = Guard(TABLE, "shop", Clock(NOW)).check("call", token)
    assert (found.kind, found.name) == ("subject", "ada")
    assert set(found.grants) == {Grant("invoker", "shop"), Grant("deployer", "shop-*")}
    assert Guard(TABLE, "shop-b", Clock(NOW)).check("deploy", token) == found
    with pytest.raises(Forbidden, match="subject 'ada' may not deploy on graph 'shop'"):
        Guard(TABLE, "shop", Clock(NOW)).check("deploy", token)
    stranger = shown(signer().token(claims(HERE, sub="eve", groups=None)))
    with pytest.raises(Forbidden):
        Guard(TABLE, "shop", Clock(NOW)).check("call", stranger)


def test_subjects_may_what_anybody_may() -> None:
    token = shown(signer().token(claims(HERE, sub="eve", groups=None)))
    guard = Guard(replace(TABLE, anonymous=(Grant("invoker"),)), "shop", Clock(NOW))
    assert guard.check("call", token).name == "eve"


def test_a_token_that_is_known_ends_in_time() -> None:
    clock, token = Clock(NOW), shown(signer().token(claims(HERE)))
    guard = Guard(TABLE, "shop", clock)
    for _ in range(2):
        assert guard.check("call", token).name == "ada"
    clock.now = NOW + 630
    with pytest.raises(Unauthenticated, match="expired"):
        guard.check("call", token)


def test_a_token_of_the_future_counts_once_it_begins() -> None:
    clock, token = Clock(NOW - 300), shown(signer().token(claims(HERE)))
    guard = Guard(TABLE, "shop", clock)
    with pytest.raises(Unauthenticated, match="nbf"):
        guard.check("call", token)
    clock.now = NOW
    assert guard.check("call", token).name == "ada"


def test_a_key_that_is_gone_signs_no_more_even_what_is_known() -> None:
    guard, token = Guard(TABLE, "shop", Clock(NOW)), shown(signer().token(claims(HERE)))
    assert guard.check("call", token).name == "ada"
    guard.apply(table())
    with pytest.raises(UnknownSigner):
        guard.check("call", token)
    guard.apply(AccessTable(3, ruled=RULES))
    with pytest.raises(Unauthenticated, match="has no issuers"):
        guard.check("call", token)


def test_an_unknown_key_is_asked_for_and_the_request_goes_on() -> None:
    controller = Controller(*keys_of(signer()))
    guard = guarded(controller)
    assert asyncio.run(called(guard, signer().token(claims(HERE)))).name == "ada"
    assert controller.asked == [(HERE, "one")]
    assert guard.check("call", shown(signer().token(claims(HERE)))).name == "ada"


def test_many_requests_ask_together() -> None:
    controller = Controller(*keys_of(signer()))
    guard = guarded(controller)

    async def all_at_once() -> list[Identity]:
        several = [called(guard, signer().token(claims(HERE, n=n))) for n in range(50)]
        return await asyncio.gather(*several)

    assert {one.name for one in asyncio.run(all_at_once())} == {"ada"}
    assert len(controller.asked) <= 2


def test_a_key_that_stays_unknown_is_refused_and_counted() -> None:
    guard = guarded(Controller())
    token = signer("other").token(claims(HERE))

    async def again_and_again() -> None:
        for _ in range(BURST):
            with pytest.raises(Unauthenticated, match="no key 'other'"):
                await called(guard, token, "10.0.0.9")
        with pytest.raises(TooManyRequests):
            await called(guard, token, "10.0.0.9")

    asyncio.run(again_and_again())


def test_a_key_that_stays_unknown_counts_like_none() -> None:
    guard = Guard(table(anonymous=(Grant("invoker"),)), "shop", Clock(NOW))
    token = signer("other").token(claims(HERE))
    assert asyncio.run(called(guard, token)).kind == "anonymous"


def test_followers_take_the_first_table_with_issuers() -> None:
    guard = Guard(AccessTable(), "shop", Clock(NOW))
    asyncio.run(guard.take(TABLE))
    assert guard.check("call", shown(signer().token(claims(HERE)))).name == "ada"


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "WAIT_S", 0.01)

    async def never(issuer: str, kid: str) -> None:
        await asyncio.Event().wait()

    run(KeyRenewal(never).renew("a", "b"))


def test_a_call_that_fails_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(issuer: str, kid: str) -> None:
        raise RuntimeError("gone")

    run(KeyRenewal(fail).renew("a", "b"))
    assert "cannot ask for the keys of issuer 'a': gone" in caplog.text
    run(KeyRenewal(None).renew("a", "b"))


def test_who_comes_while_others_ask_gets_an_answer_from_after_that() -> None:
    """The call under way may have seen the issuer before its new key."""
    begun: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def call(issuer: str, kid: str) -> None:
        goes_on = asyncio.Event()
        await begun.put(goes_on)
        await goes_on.wait()

    async def two() -> None:
        keys = KeyRenewal(call)
        first = asyncio.create_task(keys.renew("a", "old"))
        first_goes_on = await begun.get()
        second = asyncio.create_task(keys.renew("a", "new"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert begun.empty()
        first_goes_on.set()
        await first
        second_goes_on = await begun.get()
        assert not second.done()
        second_goes_on.set()
        await second

    run(two())


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_unknown_signers_cross_processes() -> None:
    found = pickle.loads(pickle.dumps(UnknownSigner("no key", HERE, "one")))
    assert (str(found), found.issuer, found.kid) == ("no key", HERE, "one")
