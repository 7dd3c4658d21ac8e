from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.store.store import Store
from anabranch.control.traffic.signing_keys import ROTATION_S, SigningKeys, rotated
from anabranch.router.signing import MAX_AGE_S, SigningKey
from tests.clock import Clock

NOW = 1_790_000_000.0
DAYS = round(MAX_AGE_S / ROTATION_S)


def ids(keys: tuple[SigningKey, ...]) -> list[str]:
    return [key.id for key in keys]


def test_the_first_keys_are_two() -> None:
    keys = rotated((), NOW)
    assert len({key.id for key in keys}) == len({key.secret for key in keys}) == 2
    assert {len(key.secret) for key in keys} == {32}
    assert rotated(keys, NOW + ROTATION_S - 1) == keys


def test_a_new_key_waits_for_one_rotation() -> None:
    first = rotated((), NOW)
    second = rotated(first, NOW + ROTATION_S)
    assert second[1:] == first
    assert second[0].created_at == NOW + ROTATION_S


@given(st.lists(st.floats(0, 3 * ROTATION_S), min_size=1, max_size=60))
def test_a_key_is_kept_for_as_long_as_its_signatures_are_good(steps: list[float]) -> None:
    now, keys, signed = NOW, rotated((), NOW), {}
    for step in steps:
        signed[keys[1].id] = now + step
        now += step
        keys = rotated(keys, now)
        good = {id for id, until in signed.items() if now - until <= MAX_AGE_S - ROTATION_S}
        assert good <= set(ids(keys))
        assert len(keys) <= DAYS + 3


@given(st.lists(st.floats(-1e8, 1e8), max_size=20))
def test_whatever_the_clock_does_there_is_a_key_and_it_rotates(moves: list[float]) -> None:
    now, keys = NOW, rotated((), NOW)
    for move in moves:
        now += move
        keys = rotated(keys, now)
        assert abs(now - keys[0].created_at) < ROTATION_S
        assert len(keys) >= 2


def test_a_restarted_controller_has_the_same_keys(store: Store) -> None:
    clock = Clock(NOW)
    keys, anew = (SigningKeys(store.database, clock) for _ in range(2))
    keys.renew()
    anew.renew()
    assert len(keys.current) == 2
    assert anew.current == keys.current
    clock.now += ROTATION_S
    anew.renew()
    assert anew.current[1:] == keys.current
    clock.now += MAX_AGE_S + ROTATION_S + 1
    anew.renew()
    assert set(ids(anew.current)).isdisjoint(ids(keys.current)[1:])


def test_with_a_new_key_all_tables_go_out_again(store: Store) -> None:
    clock = Clock(NOW)
    keys = SigningKeys(store.database, clock)
    for name in ("digits", "iris"):
        store.ensure_revision(name, "spec", "d", force=True)

    def generations() -> list[int]:
        return [stored.generation for stored in store.situations()]

    keys.renew()
    before = generations()
    keys.renew()
    assert generations() == before
    clock.now += ROTATION_S
    keys.renew()
    assert generations() == [number + 1 for number in before]
