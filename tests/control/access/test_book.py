"""The table that follows from keys, rules, the token and sessions; and when it is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import TOKEN, Identity
from anabranch.access.keys import digest_of
from anabranch.access.limits import CallerLimits, LimitRule
from anabranch.access.roles import Grant
from anabranch.control.access.book import AccessBook
from anabranch.control.access.sessions import shown_as
from anabranch.control.store.store import Store
from anabranch.errors import SpecError, Unauthenticated, Unavailable
from tests.clock import Clock

CALLER = [Grant("invoker")]


@pytest.fixture
def book(store: Store, tmp_path: Path) -> Iterator[AccessBook]:
    (tmp_path / "token").write_text("the-token\n")
    yield AccessBook(store.database, tmp_path, ["feedback"], Clock(1000.0), 0.01)


def who(book: AccessBook, secret: str) -> Identity:
    """Whose a key is, by the table in force; Unauthenticated for one that is not known."""

    async def asked() -> Identity:
        guard = Guard(await book.now(), clock=lambda: 1000.0)
        return guard.identify(Credentials(f"Bearer {secret}".encode()))

    return asyncio.run(asked())


def test_the_token_and_the_keys_are_known(book: AccessBook) -> None:
    _, key = book.keys.add("ci", CALLER, None)
    assert who(book, "the-token") == TOKEN
    # Nobody may do less for a key than without one.
    assert who(book, key) == Identity("key", "ci", (Grant("invoker"), Grant("feedback")))


def test_a_change_is_in_force_once_it_returns(book: AccessBook) -> None:
    async def made() -> str:
        return (await book.change(lambda: book.keys.add("ci", CALLER, None)))[1]

    key = asyncio.run(made())
    assert who(book, key).name == "ci"
    asyncio.run(book.change(lambda: book.keys.revoke("ci")))
    with pytest.raises(Unauthenticated, match="not known, or was revoked"):
        who(book, key)


def test_a_change_waits_for_those_who_follow(book: AccessBook) -> None:
    async def followed() -> list[str]:
        told: list[str] = []
        first = await book.table("r1", 0)

        async def follow() -> None:
            table = await book.table("r1", first.version)
            told.append("taken")
            await book.table("r1", table.version)

        following = asyncio.create_task(follow())
        await book.change(lambda: book.keys.add("ci", CALLER, None))
        told.append("changed")
        await following
        return told

    assert asyncio.run(followed()) == ["taken", "changed"]


def test_a_follower_that_has_left_is_not_waited_for(book: AccessBook) -> None:
    async def followed() -> None:
        await book.table("r1", 0)
        book.leave("r1")
        await book.change(lambda: book.keys.add("ci", CALLER, None))

    asyncio.run(followed())


def test_versions_differ_and_do_not_begin_anew(book: AccessBook, store: Store) -> None:
    async def version(of: AccessBook) -> int:
        return (await of.table("r1", 0)).version

    first = asyncio.run(version(book))
    other = AccessBook(store.database, book._home, [], Clock(), 0.01)
    assert 0 < first < asyncio.run(version(other))


def test_rules_add_to_keys_and_replace_what_anonymous_callers_may(book: AccessBook) -> None:
    _, key = book.keys.add("ci", CALLER, None)
    text = "anonymous: [{role: invoker, graphs: [demo]}]\nrules: [{key: ci, role: operator}]"
    asyncio.run(book.change(lambda: book.put_policy(text)))
    table = asyncio.run(book.now())
    assert table.anonymous == (Grant("invoker", "demo"),)
    assert who(book, key).grants == (Grant("invoker"), Grant("operator"), Grant("invoker", "demo"))
    assert (book.policy_text(), book.ruled("ci")) == (text, (Grant("operator"),))
    asyncio.run(book.change(lambda: book.put_policy(" ")))
    assert asyncio.run(book.now()).anonymous == (Grant("feedback"),)
    assert (book.policy_text(), book.ruled("ci")) == ("", ())


def test_the_event_of_a_change_has_the_policy_before_and_after(
    book: AccessBook, store: Store
) -> None:
    text = "rules: [{key: ci, role: operator}]"
    for one in (text, " "):
        book.put_policy(one)
    made, taken_back = (event.change for event in store.events())
    assert made == {"before": {"policy": ""}, "after": {"policy": text}}
    assert taken_back == {"before": {"policy": text}, "after": {"policy": ""}}


def test_a_policy_with_mistakes_changes_nothing(book: AccessBook) -> None:
    book.put_policy("rules: [{key: ci, role: operator}]")
    with pytest.raises(SpecError):
        book.put_policy("rules: [{key: ci, role: boss}]")
    assert book.ruled("ci") == (Grant("operator"),)


def test_without_the_token_s_file_that_is_said(book: AccessBook) -> None:
    (book._home / "token").unlink()
    with pytest.raises(Unavailable, match="cannot read the engine's token"):
        asyncio.run(book.now())


def test_a_session_lasts_until_its_key_is_revoked(book: AccessBook) -> None:
    made, _ = book.keys.add("ci", CALLER, None)
    shown = shown_as(*asyncio.run(book.begin_session(made.digest)))
    assert who(book, shown).name == "ci"
    with pytest.raises(Unauthenticated):
        asyncio.run(book.begin_session("another digest"))
    asyncio.run(book.change(lambda: book.keys.revoke("ci")))
    with pytest.raises(Unauthenticated):
        who(book, shown)


def test_a_session_is_no_key_by_which_another_begins(book: AccessBook) -> None:
    made, _ = book.keys.add("ci", CALLER, None)
    shown = shown_as(*asyncio.run(book.begin_session(made.digest)))
    with pytest.raises(Unauthenticated):
        asyncio.run(book.begin_session(digest_of(shown)))


def test_a_session_of_an_identity_is_one_of_its_newest_key(book: AccessBook) -> None:
    book.keys.add("ci", CALLER, None)
    book.keys.rotate("ci", 60.0)
    shown = shown_as(*asyncio.run(book.begin_session(Identity("key", "ci"))))
    assert who(book, shown).name == "ci"
    asyncio.run(book.end_session(shown))
    with pytest.raises(Unauthenticated):
        who(book, shown)
    with pytest.raises(Unauthenticated):
        asyncio.run(book.begin_session(Identity("subject", "ada")))


def test_limits_of_the_policy_are_in_the_table(book: AccessBook) -> None:
    async def main() -> None:
        await book.change(
            lambda: book.put_policy("limits: [{caller: ci, graphs: [shop], rate: 2}]")
        )
        table = await book.now()
        assert table.limits == (LimitRule("ci", "shop", CallerLimits(rate=2.0)),)

    asyncio.run(main())
