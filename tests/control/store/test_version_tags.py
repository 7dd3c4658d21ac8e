from __future__ import annotations

import time

import pytest

from anabranch.control.store.store import Store
from anabranch.control.store.version_tags import VersionTags, VersionTagStore

V1, V2 = "models:/m/1", "models:/m/2"


@pytest.fixture
def tags(store: Store) -> VersionTagStore:
    return VersionTagStore(store.database)


def test_what_is_wanted_and_what_was_told(tags: VersionTagStore) -> None:
    tags.want("g", V1, {"state": "canary"})
    tags.want("g", V2, {"state": "live"})
    tags.want("h", V1, {"state": "live"})
    (first, *_) = tags.all()
    assert first == VersionTags("g", V1, {"state": "canary"}, {})
    tags.told(first)
    assert tags.all()[0].told == {"state": "canary"}


def test_what_was_wanted_meanwhile_is_still_to_be_told(tags: VersionTagStore) -> None:
    tags.want("g", V1, {"state": "canary"})
    (under_way,) = tags.all()
    tags.want("g", V1, {"state": "aborted"})
    tags.told(under_way)
    (left,) = tags.all()
    assert (left.wanted, left.told) == ({"state": "aborted"}, {"state": "canary"})


def test_the_longest_names(tags: VersionTagStore) -> None:
    name, version = f"{'a' * 63}/{'b' * 63}", f"models:/{'m' * 255}/{'9' * 18}"
    tags.want(name, version, {"reason": "größer"})
    assert tags.all() == [VersionTags(name, version, {"reason": "größer"}, {})]


def test_old_tags_go_once_they_were_told(tags: VersionTagStore) -> None:
    tags.want("g", V1, {"state": "live"})
    tags.told(tags.all()[0])
    tags.want("g", V2, {"state": "canary"})
    tags.forget(time.time() - 60)
    assert len(tags.all()) == 2
    tags.forget(time.time() + 60)
    assert [one.version for one in tags.all()] == [V2]
