"""The page of metrics is what the definitions say."""

from __future__ import annotations

import re
from pathlib import Path

from anabranch.telemetry.definitions import METRICS
from anabranch.telemetry.metrics_page import main, tables, written

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_fresh() -> None:
    page = PAGE.read_text()
    assert written(page) == page, "docs/metrics.md is not what `make metrics` writes"


def test_every_metric_is_in_one_row() -> None:
    rows = [line for line in tables().splitlines() if line.startswith("| `")]
    names = [re.match(r"\| `(\w+)` \|", row) for row in rows]
    assert sorted(name[1] for name in names if name) == sorted(METRICS)
    assert all(row.count(" | ") == 3 for row in rows)


def test_what_is_written_by_hand_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- begin: written by `make metrics` -->\nstale rows\n<!-- end -->\nafter\n"
    )
    main(str(page))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "stale rows" not in text and tables() in text
