"""Room in the cache: what goes first, and what never goes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anabranch.components.artefacts import cache as module
from anabranch.components.artefacts.cache import CONTENT, Cache, Meta
from anabranch.errors import ArtefactError

USE = """
import sys, time
from pathlib import Path
from anabranch.components.artefacts.cache import Cache
Cache(Path(sys.argv[1]), 10).obtain(sys.argv[2], lambda _: 1 / 0, time.monotonic() + 10)
print("holds it", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 3100)


def fill(cache: Cache, key: str, size: int = 1000, age: float = 0.0) -> Path:
    """Have an entry, last used so many seconds ago, by nobody who still lives."""

    def make(partial: Path) -> Meta:
        (partial / CONTENT).mkdir()
        (partial / CONTENT / "m").write_bytes(bytes(size))
        return {}

    path, _ = cache.obtain(key, make, time.monotonic() + 10)
    meta = path.parent / "meta.json"
    os.utime(meta, (time.time() - age, time.time() - age))
    return path


def let_go() -> None:
    """As if the process had ended."""
    while module._leases:
        os.close(module._leases.popitem()[1])


def test_a_claim_that_fails_lets_go(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(cache, "_fill", full)
        cache.claim("a")
    assert cache.claim("a") is not None


def test_a_claimed_entry_is_one_user_s_until_that_lets_go(cache: Cache) -> None:
    claimed = cache.claim("a")
    assert claimed is not None
    folder, lock = claimed
    (folder / "m").write_bytes(bytes(1000))
    assert cache.claim("a") is None
    cache.make_room(3000)
    assert folder.exists()
    os.close(lock)
    again = cache.claim("a")
    assert again is not None and (again[0] / "m").stat().st_size == 1000
    os.close(again[1])
    cache.make_room(3000)
    assert not folder.exists()


def test_the_least_recently_used_goes_first(cache: Cache) -> None:
    old, older, new = (fill(cache, key, age=age) for key, age in [("a", 50), ("b", 90), ("c", 1)])
    let_go()
    cache.make_room(1000)
    assert [path.exists() for path in (old, older, new)] == [True, False, True]
    cache.make_room(2500)
    assert not old.exists() and not new.exists()


def test_nothing_goes_while_there_is_room(cache: Cache) -> None:
    path = fill(cache, "a", age=1e6)
    let_go()
    cache.make_room(1500)
    assert path.exists()


def test_what_this_process_uses_stays(cache: Cache) -> None:
    used = fill(cache, "a", age=1e6)
    cache.make_room(10_000)
    assert used.exists()
    let_go()
    cache.make_room(10_000)
    assert not used.exists()


def test_what_another_process_uses_stays_until_it_dies(cache: Cache, tmp_path: Path) -> None:
    used = fill(cache, "a", age=1e6)
    let_go()
    user = subprocess.Popen(
        [sys.executable, "-c", USE, str(tmp_path / "cache"), "a"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert user.stdout is not None and user.stdout.readline() == "holds it\n"
    cache.make_room(10_000)
    assert used.exists()
    user.kill()
    user.communicate(timeout=30)
    cache.make_room(10_000)
    assert not used.exists()


def test_what_was_left_of_downloads_goes_too(cache: Cache, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "partial" / "a"
    left.mkdir(parents=True)
    (left / "x.part").write_bytes(bytes(2900))
    cache.make_room(1000)
    assert not left.exists()


def test_what_is_on_its_way_stays(cache: Cache) -> None:
    def make(partial: Path) -> Meta:
        (partial / "x.part").write_bytes(bytes(2900))
        cache.make_room(1000)
        assert (partial / "x.part").exists()
        (partial / CONTENT).mkdir()
        return {}

    cache.obtain("a", make, time.monotonic() + 10)


def test_a_failure_keeps_what_came_for_the_next(cache: Cache) -> None:
    def fail(partial: Path) -> Meta:
        (partial / "x.part").write_bytes(b"half")
        raise ArtefactError("no")

    with pytest.raises(ArtefactError):
        cache.obtain("a", fail, time.monotonic() + 10)

    def go_on(partial: Path) -> Meta:
        assert (partial / "x.part").read_bytes() == b"half"
        (partial / CONTENT).mkdir()
        return {"shape": "folder"}

    path, meta = cache.obtain("a", go_on, time.monotonic() + 10)
    assert meta == {"shape": "folder"}
    assert sorted(one.name for one in path.parent.iterdir()) == ["content", "meta.json"]


def test_waiting_for_another_has_an_end(cache: Cache) -> None:
    class Told(Exception):
        pass

    def tell() -> None:
        raise Told

    def slow(_: Path) -> Meta:
        with pytest.raises(Told):
            cache.obtain("a", fail, time.monotonic() + 60, tell)
        cache.obtain("a", fail, time.monotonic())
        raise AssertionError

    def fail(_: Path) -> Meta:
        raise AssertionError

    with pytest.raises(ArtefactError, match="another process did not end its work on it in time"):
        cache.obtain("a", slow, time.monotonic() + 10)


def test_what_is_not_kept_is_dropped_unless_it_is_in_use(cache: Cache, tmp_path: Path) -> None:
    kept, gone, other = (fill(cache, key) for key in ("bundle-a", "bundle-b", "c"))
    let_go()
    left = tmp_path / "cache" / "partial" / "bundle-d"
    left.mkdir(parents=True)
    used = fill(cache, "bundle-e")
    assert cache.drop("bundle-", {"bundle-a"}) == 2
    assert [path.exists() for path in (kept, gone, other, left, used)] == [
        True, False, True, False, True,
    ]  # fmt: skip
    let_go()
    assert cache.drop("bundle-", {"bundle-a"}) == 1
    assert not used.exists()
