from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.control.store.chain import FIELDS, GENESIS, Chain, Verification, link, verify
from tests.examples import examples

Row = dict[str, Any]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def events(count: int, texts: list[str]) -> list[Row]:
    """Rows that differ in all but what is repeated in ``texts``."""
    return [
        {name: texts[number % len(texts)] for name in FIELDS}
        | {"id": 2 * number + 5, "at": number / 3, "revision": number or None}
        for number in range(count)
    ]


def chained(rows: list[Row], anchor_id: int = 0, anchor: str = GENESIS) -> Chain:
    """Give each row its hash, and return the ends of the chain."""
    last_id, last = anchor_id, anchor
    for row in rows:
        last_id, last = row["id"], link(last, row)
        row["hash"] = last
    return Chain(anchor_id, anchor, last_id, last)


ROWS = st.builds(events, st.integers(1, 6), st.lists(TEXTS, min_size=1, max_size=3))
any_rows = given(rows=ROWS, data=st.data())
fully = settings(max_examples=examples(200), deadline=None)


def test_the_hash_is_the_documented_one() -> None:
    row = dict.fromkeys(FIELDS) | {
        "id": 1,
        "at": 0.5,
        "graph": "größe",
        "data": '{"a": 1}',
    }
    text = f'["{GENESIS}",1,0.5,"größe",null,null,null,"{{\\"a\\": 1}}",null,null,null,null,null]'
    assert json.loads(text)[1] == 1
    assert link(GENESIS, row) == hashlib.sha256(text.encode()).hexdigest()


@fully
@any_rows
def test_a_chain_is_whole_wherever_its_oldest_events_were_pruned(
    rows: list[Row], data: st.DataObject
) -> None:
    chain = chained(rows)
    gone = data.draw(st.integers(0, len(rows)))
    if gone:
        chain = replace(chain, anchor_id=rows[gone - 1]["id"], anchor=rows[gone - 1]["hash"])
    found = verify(chain, rows[gone:])
    assert (found.broken, found.verified, found.hash) == (None, len(rows) - gone, chain.last)
    assert (found.first, found.last) == (
        (rows[gone]["id"], rows[-1]["id"]) if gone < len(rows) else (None, None)
    )


@fully
@any_rows
def test_a_changed_event_is_the_first_that_is_broken(rows: list[Row], data: st.DataObject) -> None:
    chain = chained(rows)
    one = data.draw(st.sampled_from(rows))
    name = data.draw(st.sampled_from([*FIELDS[1:], "hash"]))
    values = {"at": st.floats(allow_nan=False), "revision": st.none() | st.integers()}
    value = data.draw(values.get(name, st.none() | TEXTS | st.binary()))
    unlike = json.dumps(one[name], default=repr) != json.dumps(value, default=repr)
    one[name] = value
    assert verify(chain, rows).broken == (one["id"] if unlike else None)


@fully
@any_rows
def test_a_changed_event_with_a_hash_that_fits_breaks_what_follows(
    rows: list[Row], data: st.DataObject
) -> None:
    chain = chained(rows)
    place = data.draw(st.integers(0, len(rows) - 1))
    previous = rows[place - 1]["hash"] if place else GENESIS
    rows[place]["message"] = f"{rows[place]['message']}, changed"
    rows[place]["hash"] = link(previous, rows[place])
    following = min(place + 1, len(rows) - 1)
    assert verify(chain, rows).broken == rows[following]["id"]


@fully
@any_rows
def test_removed_events_are_missed(rows: list[Row], data: st.DataObject) -> None:
    chain = chained(rows)
    gone = data.draw(st.sets(st.sampled_from(range(len(rows))), min_size=1))
    left = [row for number, row in enumerate(rows) if number not in gone]
    found = verify(chain, left)
    after = [row["id"] for row in left if row["id"] > rows[min(gone)]["id"]]
    assert found.broken == (after[0] if after else chain.last_id)
    assert found.verified == min(gone)


@fully
@any_rows
def test_events_in_another_order_are_found(rows: list[Row], data: st.DataObject) -> None:
    chain = chained(rows)
    order = data.draw(st.permutations(range(len(rows))))
    ids = [row["id"] for row in rows]
    moved = [rows[old] | {"id": id} for old, id in zip(order, ids, strict=True)]
    displaced = [number for number, old in enumerate(order) if number != old]
    assert verify(chain, moved).broken == (ids[displaced[0]] if displaced else None)


@fully
@any_rows
def test_an_event_that_was_put_in_is_found(rows: list[Row], data: st.DataObject) -> None:
    chain = chained(rows)
    id = data.draw(st.integers(0, rows[-1]["id"] + 2).filter(lambda one: one % 2 == 0))
    before = [row for row in rows if row["id"] < id]
    new = rows[0] | {"id": id}
    new["hash"] = link(before[-1]["hash"] if before else GENESIS, new)
    found = verify(chain, [*before, new, *rows[len(before) :]])
    following = rows[len(before)]["id"] if len(before) < len(rows) else id
    assert found.broken == (following if id else 0)


def test_an_event_from_before_the_anchor_is_found() -> None:
    rows = events(3, ["a"])
    chain = chained(rows)
    pruned = replace(chain, anchor_id=rows[0]["id"], anchor=rows[0]["hash"])
    old = rows[0] | {"hash": link(pruned.anchor, rows[0])}
    assert verify(pruned, [old, *rows[1:]]).broken == rows[0]["id"]


@pytest.mark.parametrize("change", [{"last": GENESIS}, {"last_id": 99}, {"anchor": "f" * 64}])
def test_a_changed_end_is_found(change: dict[str, Any]) -> None:
    rows = events(2, ["a"])
    chain = replace(chained(rows), **change)
    assert verify(chain, rows).broken is not None
    assert verify(replace(Chain(7, "e" * 64, 7, "e" * 64), **change), []).broken is not None


def test_a_hash_that_was_kept_is_found_in_the_chain_and_at_its_anchor() -> None:
    rows = events(3, ["a"])
    chain = chained(rows, 1, "e" * 64)
    sought = ("", rows[1]["hash"], rows[2]["hash"], "e" * 64, "f" * 64)
    kept = [verify(chain, rows, one).contains for one in sought]
    assert kept == [None, True, True, True, False]


def test_events_from_before_there_were_actors_are_counted() -> None:
    rows = events(3, ["a"])
    rows[0]["actor_kind"] = "unrecorded"
    found = verify(chained(rows), rows)
    assert (found.verified, found.unrecorded) == (3, 1)
    assert verify(Chain(0, GENESIS, 0, GENESIS), []) == Verification()
