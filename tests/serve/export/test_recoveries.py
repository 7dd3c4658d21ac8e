"""What is done about failures, as a metric."""

from __future__ import annotations

import pytest

from anabranch.serve.export.recoveries import counted
from anabranch.telemetry.definitions import NODE_RECOVERIES
from anabranch.telemetry.registry import Registry


def test_recoveries_are_counted_by_action(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_GRAPH", "digits")
    monkeypatch.setenv("ANABRANCH_REVISION", "3")
    registry = Registry()
    notice = counted(registry)
    for action in ("retry", "retry", "skip"):
        notice("net", action)
    assert registry.snapshot() == {
        NODE_RECOVERIES.name: {
            ("digits", "3", "net", "retry"): 2,
            ("digits", "3", "net", "skip"): 1,
        }
    }
