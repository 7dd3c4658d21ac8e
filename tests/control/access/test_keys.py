"""API keys in the store, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from anabranch.access.actor import Actor
from anabranch.access.keys import digest_of
from anabranch.access.roles import Grant
from anabranch.control.access import keys as module
from anabranch.control.access.keys import KeyStore
from anabranch.control.store.schema import api_keys
from anabranch.control.store.store import Store
from anabranch.errors import Conflict, NotFound
from tests.clock import Clock
from tests.control.actors import acting

GRANTS = [Grant("invoker", "team-a-*"), Grant("viewer")]


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def keys(store: Store, clock: Clock) -> KeyStore:
    return KeyStore(store.database, clock)


def kinds(store: Store) -> list[str]:
    return [event.kind for event in store.newest_events("", 100)]


def test_a_key_is_kept_as_a_digest(store: Store, keys: KeyStore) -> None:
    with acting(Actor("key", "ada")):
        made, key = keys.add("ci", GRANTS, 60.0)
    assert keys.all() == [made]
    assert made.digest == digest_of(key) and made.grants == tuple(GRANTS)
    assert (made.created_at, made.expires_at, made.author) == (1000.0, 1060.0, "key 'ada'")
    with store.database.read() as connection:
        row = connection.execute(sa.select(api_keys)).mappings().one()
    assert key not in str(dict(row))
    assert all(key not in str(event) for event in store.newest_events("", 100))
    assert kinds(store)[-1] == "key_created"


def test_names_are_taken_once(keys: KeyStore) -> None:
    keys.add("ci", GRANTS, None)
    with pytest.raises(Conflict, match="there is a key 'ci'; rotate it, or revoke it first"):
        keys.add("ci", GRANTS, None)


def test_a_key_that_has_expired_is_forgotten(keys: KeyStore, clock: Clock) -> None:
    keys.add("ci", GRANTS, 60.0)
    clock.now += 59.9
    assert [key.name for key in keys.all()] == ["ci"]
    clock.now += 0.1
    assert keys.all() == []
    with pytest.raises(NotFound, match="there is no key 'ci'"):
        keys.of("ci")
    with pytest.raises(NotFound):
        keys.rotate("ci", 1.0)
    keys.add("ci", GRANTS, None)


def test_after_a_rotation_both_keys_count_for_a_while(keys: KeyStore, clock: Clock) -> None:
    old, _ = keys.add("ci", GRANTS, 100.0)
    clock.now += 50.0
    new, key = keys.rotate("ci", 10.0)
    assert new.digest == digest_of(key) != old.digest
    assert (new.grants, new.expires_at) == (old.grants, 1150.0)
    assert [one.expires_at for one in keys.of("ci")] == [1060.0, 1150.0]
    clock.now += 10.0
    assert keys.of("ci") == [new]


def test_an_overlap_does_not_lengthen_a_key_s_life(keys: KeyStore, clock: Clock) -> None:
    keys.add("ci", GRANTS, 5.0)
    keys.rotate("ci", 1000.0)
    assert keys.of("ci")[0].expires_at == 1005.0


def test_a_rotation_without_overlap_leaves_only_the_new_key(keys: KeyStore) -> None:
    keys.add("ci", GRANTS, None)
    new, _ = keys.rotate("ci", 0.0)
    assert keys.of("ci") == [new] and new.expires_at is None


def test_a_name_is_revoked_with_all_its_keys(store: Store, keys: KeyStore) -> None:
    keys.add("ci", GRANTS, None)
    keys.rotate("ci", 60.0)
    keys.add("other", GRANTS, None)
    keys.revoke("ci")
    assert [key.name for key in keys.all()] == ["other"]
    assert kinds(store)[-1] == "key_revoked"
    told = store.events()[-1].data
    assert told["key"] == "ci"
    assert told["grants"] == [{"role": one.role, "graphs": one.graphs} for one in GRANTS]
    with pytest.raises(NotFound, match="`anabranch keys` lists those that there are"):
        keys.revoke("ci")


def test_keys_are_bounded(keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    keys.add("a", GRANTS, None)
    keys.add("b", GRANTS, None)
    with pytest.raises(Conflict, match="there are 2 keys already; revoke one"):
        keys.add("c", GRANTS, None)
    with pytest.raises(Conflict, match="there are 2 keys already; revoke one"):
        keys.rotate("a", 60.0)
    assert [key.name for key in keys.all()] == ["a", "b"]


def test_keys_outlive_the_process(url: str, clock: Clock) -> None:
    first = Store.open(url)
    made, _ = KeyStore(first.database, clock).add("ci", GRANTS, None)
    first.close()
    second = Store.open(url)
    assert KeyStore(second.database, clock).all() == [made]
    second.close()
