"""The page of metrics is what the definitions say."""

from __future__ import annotations

import re

from anabranch.reference.metrics import tables
from anabranch.telemetry.definitions import METRICS


def test_every_metric_is_in_one_row() -> None:
    rows = [line for line in tables().splitlines() if line.startswith("| `")]
    names = [re.match(r"\| `(\w+)` \|", row) for row in rows]
    assert sorted(name[1] for name in names if name) == sorted(METRICS)
    assert all(row.count(" | ") == 3 for row in rows)
