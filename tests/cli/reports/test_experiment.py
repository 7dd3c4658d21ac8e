from __future__ import annotations

from typing import Any

import pytest

from anabranch.cli.reports.experiment import experiments_text, only
from anabranch.errors import NotFound


def route(name: str, **fields: Any) -> dict[str, Any]:
    blank = {"requests": 0, "failures": 0, "seconds": None, "rewards": 0, "mean": None}
    return {
        **blank, "route": name, "difference": None, "p_value": None, "significant": None, **fields
    }  # fmt: skip


FOUND: dict[str, Any] = {
    "graph": "shop",
    "error": 0.05,
    "experiments": [
        {
            "router": "split",
            "revision": 3,
            "updated_at": "2026-03-01T12:00:00",
            "note": None,
            "routes": [
                route("old", requests=900, failures=2, seconds=0.0123, rewards=800, mean=0.25),
                route("new", requests=100, rewards=90, mean=0.5, difference=0.25, p_value=0.001,
                      significant=True),
                route("bad", mean=0.1, difference=-0.15, p_value=0.04, significant=True),
                route("same", mean=0.3, difference=0.05, p_value=0.7, significant=False),
            ],
        },
        {"router": "learn", "revision": 3, "updated_at": None, "note": "not compared",
         "routes": [route("old")]},
    ],
}  # fmt: skip


def test_the_report_says_which_routes_are_better() -> None:
    text = experiments_text(only(FOUND, "experiments", "split"))
    title, head, old, new, bad, same, foot = text.splitlines()
    assert title == "split in r3, the last reward at 2026-03-01T12:00:00"
    assert head.split() == [
        "ROUTE", "REQUESTS", "FAILURES", "MEAN", "MS", "REWARDS", "MEAN", "DIFFERENCE", "P",
        "VERDICT",
    ]  # fmt: skip
    assert old.split() == ["old", "900", "2", "12.3", "800", "0.25", "-", "-", "-"]
    assert new.split() == ["new", "100", "0", "-", "90", "0.5", "0.25", "0.001", "better"]
    assert bad.split()[-1] == "worse"
    assert same.split()[-2:] == ["not", "decided"]
    assert foot == "differences from old, error at most 5 % at all looks"


def test_all_router_nodes_are_shown_unless_one_is_named() -> None:
    text = experiments_text(only(FOUND, "experiments", None))
    assert "split in r3" in text
    assert text.endswith("not compared")
    assert experiments_text({"graph": "g", "experiments": []}) == "g has no router node"


def test_an_unknown_router_node_is_named() -> None:
    with pytest.raises(NotFound, match=r"no router node 'splitt' \(did you mean 'split'"):
        only(FOUND, "experiments", "splitt")
