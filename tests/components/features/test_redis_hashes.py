"""Features in a real Redis."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.contract import CannotLoad
from anabranch.components.features.kinds import open_store
from anabranch.components.features.redis_hashes import KeyCheck, template_problem
from anabranch.components.features.stores import StoredRow
from anabranch.errors import InvalidRequest, Unavailable
from tests.components.features.conftest import options
from tests.ports import free_ports
from tests.redis_server import RedisServer


def fetched(url, keys, **more):
    async def run():
        store = open_store(options(url, **{"key": "user:{user_id}", **more}))
        try:
            return await store.fetch(keys)
        finally:
            await store.close()

    return asyncio.run(run())


def test_all_hashes_of_a_call_come_in_one_pipeline(redis: RedisServer) -> None:
    with redis.client as client:
        client.hset(
            "user:1", mapping={"age": 30, "tier": "gold", "at": "2026-11-01T00:00:00+00:00"}
        )
        client.hset("user:2", mapping={"tier": b"\xff", "at": 1.5})
        client.hset("user:3", mapping={"other": 1, "at": 1.5})
    found = fetched(redis.url, [(1,), (2,), (3,), ("4",)], timestamp="at")
    assert found == [
        StoredRow((b"30", b"gold"), 1793491200.0),
        StoredRow((None, b"\xff"), 1.5),
        None,
        None,
    ]
    assert fetched(redis.url, [(1,)]) == [StoredRow((b"30", b"gold"), None)]


def test_keys_may_have_several_parts(redis: RedisServer) -> None:
    with redis.client as client:
        client.hset("at:oslo:7", mapping={"age": 1, "tier": ""})
    found = fetched(
        redis.url, [("oslo", 7), ("oslo", 8)], entities=("city", "shop"), key="at:{city}:{shop}"
    )
    assert found == [StoredRow((b"1", b""), None), None]


def test_a_key_that_is_no_hash_is_no_outage(redis: RedisServer) -> None:
    with redis.client as client:
        client.set("user:1", "text")
    with pytest.raises(Exception, match="WRONGTYPE") as raised:
        fetched(redis.url, [(1,)])
    assert not isinstance(raised.value, Unavailable)


def test_a_server_that_is_not_there_is_away() -> None:
    pytest.importorskip("redis")
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match="Redis does not answer"):
        fetched(f"redis://127.0.0.1:{port}", [(1,)])


def test_wrong_credentials_are_told_when_the_node_is_loaded(redis: RedisServer) -> None:
    async def run(url: str) -> None:
        store = open_store(options(url, key="{user_id}"))
        try:
            await store.open()
        finally:
            await store.close()

    asyncio.run(run(redis.url))
    with pytest.raises(CannotLoad, match="refuses the credentials"):
        asyncio.run(run(redis.url.replace("a-password", "no-password")))


def test_answers_of_a_call_that_was_late_are_nobody_elses(redis: RedisServer) -> None:
    """A connection that was given up in the middle of an answer is not used again."""
    with redis.client as client:
        for user in range(4):
            client.hset(f"user:{user}", mapping={"age": user, "tier": "x"})

    async def run() -> list[StoredRow | None]:
        store = open_store(options(redis.url, key="user:{user_id}", seconds=30.0))
        try:
            await store.fetch([(0,)])
            redis.pause()
            late = [asyncio.ensure_future(store.fetch([(1,)])) for _ in range(3)]
            await asyncio.sleep(0.05)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            redis.go_on()
            return (await asyncio.gather(*(store.fetch([(user,)]) for user in (2, 3))))[0]
        finally:
            redis.go_on()
            await store.close()

    assert asyncio.run(run()) == [StoredRow((b"2", b"x"), None)]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("user:{user_id}:{shop}", None),
        ("user:{user}:{shop}", "there is no input 'user'"),
        ("user:{user_id}", "the key has no {shop}"),
        ("user:{user_id:>8}{shop}", "has a format"),
        ("user:{user_id!r}{shop}", "has a format"),
        ("user:{user_id.__class__}{shop}", "there is no input 'user_id.__class__'"),
        ("user:{", "is no template"),
        ("user:{}{shop}", "there is no input ''"),
        ("{user_id}{shop}", "nothing between two inputs"),
        ("{user_id}{{{shop}", None),
    ],
)
def test_templates_name_inputs_and_nothing_else(template: str, text: str | None) -> None:
    found = template_problem(template, ("user_id", "shop"))
    assert found is None if text is None else text in str(found)


@pytest.mark.parametrize(
    ("template", "key", "is_taken"),
    [
        ("at:{a}:{b}", ("oslo", 7), True),
        ("at:{a}:{b}", ("oslo", "7:8"), True),
        ("at:{a}:{b}", ("oslo:7", 8), False),
        ("at:{b}:{a}", ("oslo:7", 8), True),
        ("{a}::{b}", ("x:", "y"), False),
        ("{a}-{b}", (-1, 2), False),
        ("{a}{{{b}:x", ("x{", "y"), False),
        ("{a}{{{b}:x", ("x", "y:x"), True),
    ],
)
def test_a_value_that_ends_too_early_is_refused(
    template: str, key: tuple[str | int, ...], is_taken: bool
) -> None:
    check = KeyCheck(template, ("a", "b"))
    if is_taken:
        check([key])
    else:
        with pytest.raises(InvalidRequest, match="could be another entity's"):
            check([("fine", 1), key])


TEXTS = st.lists(st.text(":-a", max_size=4), min_size=3, max_size=3)


@given(st.text(":-a", min_size=1, max_size=2), st.text(":-a", min_size=1, max_size=2), TEXTS, TEXTS)
def test_entities_that_are_taken_have_keys_of_their_own(
    first: str, second: str, one: list[str], other: list[str]
) -> None:
    template = f"{{a}}{first}{{b}}{second}{{c}}"
    check, taken = KeyCheck(template, ("a", "b", "c")), []
    for values in (one, other):
        try:
            check([tuple(values)])
        except InvalidRequest:
            continue
        taken.append((template.format(a=values[0], b=values[1], c=values[2]), values))
    if len(taken) == 2:
        assert (taken[0][0] == taken[1][0]) == (one == other)
