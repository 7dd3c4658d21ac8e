from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from anabranch.access.guard import Credentials, Guard
from anabranch.access.table import AccessTable
from anabranch.control.access import key_sets
from anabranch.control.access.book import AccessBook
from anabranch.control.access.jwks import MOST_AGE_S
from anabranch.control.access.key_sets import RETRY_S
from anabranch.control.rollout.outgoing import Caller
from anabranch.errors import TooManyRequests, Unauthenticated
from tests.access.oidc import AUDIENCE, NOW, Oidc, Signer, claims, oidc, signer
from tests.clock import Clock
from tests.control.stores import new_store


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sets, "EVERY_S", 0.0)


class Ticking(Clock):
    """Goes on by itself, a little with each look."""

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


class OneIssuer:
    """An access book with one issuer, and a guard that follows it as a router does."""

    def __init__(self, folder: Path, server: Oidc) -> None:
        self.server = server
        self.clock = Ticking()
        (folder / "token").write_text("secret")
        self.store = new_store(f"sqlite:///{folder / 'store.db'}")
        self.book = AccessBook(self.store.database, folder, ["viewer"])
        self.sets = self.book.signing
        self.sets._clock = self.clock
        self.sets._caller = Caller(1.0)
        self.guard = Guard(AccessTable(), "shop", Clock(NOW), renew=self.book.renew_keys)

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        async def follow() -> None:
            version = 0
            while True:
                table = await self.book.table("router", version)
                await self.guard.take(table)
                version = table.version

        task = asyncio.create_task(follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.sets._caller.close()

    async def put(self, **others: Any) -> None:
        rules = "rules: [{subject: ada, role: invoker}]"
        given = {"audience": AUDIENCE, **others}
        extra = "".join(f", {name}: {value}" for name, value in given.items())
        text = f"{{issuer: '{self.server.url}'{extra}}}"
        await self.book.change(lambda: self.book.put_policy(f"{rules}\nissuers: [{text}]"))
        await self.sets.look()

    def close(self) -> None:
        self.store.close()

    async def name(self, signer: Signer, **others: Any) -> str:
        token = self._token(signer, *others.items())
        shown = Credentials(f"Bearer {token}".encode())
        found = await self.guard.renewed(lambda one: self.guard.check("call", one), shown)
        return found.name

    @cache  # noqa: B019
    def _token(self, signer: Signer, *others: tuple[str, Any]) -> str:
        return signer.token(claims(self.server.url, **dict(others)))

    async def later(self, seconds: float) -> None:
        self.clock.now += seconds
        await self.sets.look()


Play = Callable[[OneIssuer], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[[Play], None]]:
    def played(work: Play) -> None:
        async def whole() -> None:
            with oidc(signer("one")) as server:
                engine = OneIssuer(tmp_path, server)
                try:
                    async with engine.followed():
                        await work(engine)
                finally:
                    engine.close()

        asyncio.run(whole())

    yield played


def test_keys_are_known_once_the_policy_is_put(play: Callable[[Play], None]) -> None:
    async def work(engine: OneIssuer) -> None:
        await engine.put()
        assert await engine.name(signer("one")) == "ada"
        assert engine.server.looks == 1
        (view,) = engine.sets.view()
        assert (view["keys"], view["problem"], view["issuer"]) == (["one"], "", engine.server.url)
        assert view["read_at"] > 0

    play(work)


def test_keys_change_without_a_refusal(play: Callable[[Play], None]) -> None:
    """Eight callers, all the time; the new key is not even published ahead."""

    async def work(engine: OneIssuer) -> None:
        await engine.put()
        old, new, signing, over = signer("one"), signer("two", 1), [signer("one")], asyncio.Event()

        async def call(number: int) -> int:
            count = 0
            while not over.is_set():
                assert await engine.name(signing[0], n=number) == "ada"
                count += 1
                await asyncio.sleep(0)
            return count

        callers = [asyncio.create_task(call(number)) for number in range(8)]
        for _ in range(3):
            engine.server.publish(old, new)
            signing[0] = new
            await engine.name(new)
            engine.server.publish(new)
            engine.clock.now += MOST_AGE_S
            await engine.sets.look()
            with pytest.raises(Unauthenticated):
                await engine.name(old)
            old, new = new, old
        over.set()
        assert min(await asyncio.gather(*callers)) > 0

    play(work)


def test_keys_that_are_old_are_looked_at_again(play: Callable[[Play], None]) -> None:
    async def work(engine: OneIssuer) -> None:
        engine.server.cache_control = "max-age=120"
        await engine.put()
        engine.server.publish(signer("two", 1))
        await engine.later(119)
        assert engine.server.looks == 1
        await engine.later(1)
        assert engine.server.looks == 2
        assert await engine.name(signer("two", 1)) == "ada"
        with pytest.raises(Unauthenticated, match="no key 'one'"):
            await engine.name(signer("one"))

    play(work)


def test_unknown_keys_lead_to_one_look_for_many(play: Callable[[Play], None]) -> None:
    async def work(engine: OneIssuer) -> None:
        await engine.put()
        unknown = [engine.name(signer(f"x{number}", 1)) for number in range(40)]
        found = await asyncio.gather(*unknown, return_exceptions=True)
        assert {type(one) for one in found} <= {Unauthenticated, TooManyRequests}
        assert 2 <= engine.server.looks <= 3

    play(work)


def test_looks_are_a_while_apart(
    play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(engine: OneIssuer) -> None:
        await engine.put()
        monkeypatch.setattr(key_sets, "EVERY_S", 3600.0)
        engine.clock.now += 3600
        await engine.sets.renew(engine.server.url, "new")
        assert engine.server.looks == 2
        engine.clock.now += 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.sets.renew(engine.server.url, "new"), 0.01)
        assert engine.server.looks == 2

    play(work)


def test_an_issuer_that_is_away_keeps_its_keys(
    play: Callable[[Play], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(engine: OneIssuer) -> None:
        await engine.put()
        engine.server.told["jwks_uri"] = "http://127.0.0.1:1/keys"
        await engine.later(MOST_AGE_S)
        assert await engine.name(signer("one")) == "ada"
        (view,) = engine.sets.view()
        assert "unreachable" in view["problem"] and view["keys"] == ["one"]
        assert "no keys of issuer" in caplog.text
        # And so does a controller that starts anew.
        again = AccessBook(engine.store.database, tmp_path, [])
        assert [key.kid for key in (await again.table("r", 0)).issuers[0].keys] == ["one"]
        engine.server.told["jwks_uri"] = f"{engine.server.url}/keys"
        await engine.later(RETRY_S)
        assert engine.sets.view()[0]["problem"] == ""

    play(work)


def test_an_issuer_without_a_usable_key_is_told(play: Callable[[Play], None]) -> None:
    async def work(engine: OneIssuer) -> None:
        engine.server.publish()
        await engine.put(algorithms="[ES384]")
        assert engine.sets.view()[0]["problem"] == "the issuer has no key for ES384"

    play(work)


def test_another_place_of_the_keys_starts_anew(play: Callable[[Play], None]) -> None:
    async def work(engine: OneIssuer) -> None:
        await engine.put()
        engine.server.publish(signer("two", 1))
        await engine.put(audience="[anabranch, other]")
        assert engine.sets.view()[0]["keys"] == ["one"]
        await engine.put(jwks=f"'{engine.server.url}/keys'")
        assert engine.sets.view()[0]["keys"] == ["two"]

    play(work)


def test_what_the_policy_does_not_name_is_forgotten(play: Callable[[Play], None]) -> None:
    async def work(engine: OneIssuer) -> None:
        await engine.put()
        await engine.book.change(lambda: engine.book.put_policy(""))
        assert engine.sets.view() == []
        with pytest.raises(Unauthenticated, match="has no issuers"):
            await engine.name(signer("one"))
        await engine.sets.renew(engine.server.url, "one")
        assert engine.server.looks == 1

    play(work)


def test_changes_of_keys_are_events(play: Callable[[Play], None]) -> None:
    async def work(engine: OneIssuer) -> None:
        await engine.put()
        engine.server.publish(signer("one"), signer("two", 1))
        await engine.later(MOST_AGE_S)
        found = [one for one in engine.store.events("") if one.kind == "issuer_keys_changed"]
        assert {tuple(one.data["keys"]) for one in found} == {("one",), ("one", "two")}

    play(work)


def test_the_loop_looks_by_itself(play: Callable[[Play], None]) -> None:
    async def work(engine: OneIssuer) -> None:
        running = asyncio.create_task(engine.sets.run())
        text = f"issuers: [{{issuer: '{engine.server.url}', audience: a}}]"
        await engine.book.change(lambda: engine.book.put_policy(text))
        table = await engine.book.table("another", 0)
        while not table.issuers[0].keys:
            table = await engine.book.table("another", table.version)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    play(work)
