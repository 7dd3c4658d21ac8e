"""What is done about failures, as a metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.util import metrics

from anabranch.graph.lowering.notices import LABELS, NAME, counted

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_recoveries_are_counted_with_the_labels_that_the_docs_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[float, dict[str, str]]] = []

    class Counter(metrics.Counter):
        def inc(self, value: float = 1.0, tags: Any = None) -> None:
            super().inc(value, tags)
            told.append((value, tags))

    monkeypatch.setattr(metrics, "Counter", Counter)
    monkeypatch.setenv("ANABRANCH_GRAPH", "digits")
    monkeypatch.setenv("ANABRANCH_REVISION", "3")
    notice = counted()
    notice("net", "retry")
    notice("net", "skip")
    assert [(value, tuple(tags.items())) for value, tags in told] == [
        (1, (("graph", "digits"), ("revision", "3"), ("node", "net"), ("action", action)))
        for action in ("retry", "skip")
    ]
    labels = ", ".join(f"`{label}`" for label in LABELS)
    assert f"| `ray_{NAME}` | counter | {labels} |" in PAGE.read_text()
