from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from anabranch.control.observe.cloud_event import cloud_event

EVENT: dict[str, Any] = {
    "id": 7, "at": 1_700_000_000.25, "graph": "team/digits", "revision": 3, "kind": "promoted",
    "message": "", "data": {}, "change": {"before": {"stable": 2}, "after": {"stable": 3}},
    "actor": {"kind": "key", "name": "ann", "address": "192.0.2.7", "request_id": "r"},
    "hash": "ab",
}  # fmt: skip


def test_an_event_has_the_attributes_of_the_specification() -> None:
    data = {name: EVENT[name] for name in EVENT if name not in ("id", "at", "kind")}
    assert cloud_event(EVENT) == {
        "specversion": "1.0", "id": "7", "source": "/control/v1/graphs/team%2Fdigits",
        "type": "io.anabranch.event.v1.promoted", "subject": "revisions/3",
        "time": "2023-11-14T22:13:20.250000+00:00", "datacontenttype": "application/json",
        "data": data,
    }  # fmt: skip


@pytest.mark.parametrize("at", [0.0, 1_700_000_000.123456])
def test_an_event_of_no_graph_and_no_revision(at: float) -> None:
    found = cloud_event(EVENT | {"graph": "", "revision": None, "at": at})
    assert found["source"] == "/control/v1" and "subject" not in found
    assert datetime.fromisoformat(found["time"]) == datetime.fromtimestamp(at, UTC)
