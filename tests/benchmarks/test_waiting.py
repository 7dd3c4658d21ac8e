from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.engine import Waiting


def told(folder: Path, thread: str, worked: float, waited: float) -> None:
    """Have Linux tell of a thread how many seconds it has worked, and waited for a processor."""
    path = folder / thread / "schedstat"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{worked * 1e9:.0f} {waited * 1e9:.0f} 7\n")


def test_the_busiest_thread_counts_since_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("benchmarks.engine.time.monotonic", lambda: now[0])
    told(tmp_path, "1", 50, 50)
    told(tmp_path, "2", 1, 1)
    waiting = Waiting(tmp_path)
    now[0] += 10
    told(tmp_path, "1", 51, 52)
    told(tmp_path, "2", 5, 5)
    told(tmp_path, "3", 0.5, 0.25)
    assert waiting.share() == pytest.approx(0.4)


def test_nothing_is_known_where_the_system_does_not_tell(tmp_path: Path) -> None:
    assert Waiting(tmp_path / "none").share() == 0.0
