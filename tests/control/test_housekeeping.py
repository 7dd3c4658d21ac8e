from __future__ import annotations

import asyncio
import logging
import shutil
from functools import partial
from pathlib import Path

import pytest

from anabranch.control import housekeeping
from anabranch.control.housekeeping import Housekeeping
from anabranch.control.store.soundness import graphs_in
from anabranch.control.store.store import Store
from anabranch.errors import Unavailable
from tests.waiting import until


def has_in_the_file_alone(path: Path, graphs: int) -> bool:
    return graphs_in(Path(shutil.copy(path, path.with_name("alone.db")))) == graphs


def test_each_round_brings_the_log_into_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "PERIOD_S", 0.01)
    path = tmp_path / "store.db"
    store = Store.open(f"sqlite:///{path}")
    rounds = 0
    checkpoint = store.database.checkpoint

    def fail_once() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            raise Unavailable("the store does not answer: it is asleep")
        checkpoint()

    monkeypatch.setattr(store.database, "checkpoint", fail_once)

    async def scenario() -> None:
        task = asyncio.create_task(Housekeeping(store).run())
        for number in range(1, 4):
            await asyncio.to_thread(store.add_revision, f"g{number}", "spec", "d")
            await asyncio.to_thread(until, partial(has_in_the_file_alone, path, number))
        task.cancel()

    with caplog.at_level(logging.WARNING, "anabranch.control"):
        asyncio.run(asyncio.wait_for(scenario(), 60))
    store.close()
    assert "has to wait: the store does not answer: it is asleep" in caplog.text
