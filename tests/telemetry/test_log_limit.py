from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator

import pytest

from anabranch.telemetry.log_limit import LineLimit, logger
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def written(clock: Clock) -> Iterator[io.StringIO]:
    """What a handler writes that takes 0.1 lines a second, and 5 at once, of all loggers."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(LineLimit(0.1, clock))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_flood_is_cut_and_its_length_is_told(written: io.StringIO, clock: Clock) -> None:
    for number in range(100):
        logging.getLogger("stdout").info("%s", number)
    told = "more than 0.1 lines a second: left out"
    assert lines(written) == ["0", "1", "2", "3", "4", told]
    clock.now += 10
    logging.getLogger("user.code").info("after")
    assert lines(written)[6:] == ["95 lines were left out", "after"]
    logging.getLogger("stdout").info("again")
    assert lines(written)[8:] == [told]
    clock.now += 1000
    for number in range(6):
        logging.getLogger("stdout").info("%s", number)
    assert lines(written)[9:] == ["1 lines were left out", "0", "1", "2", "3", "4", told]


@pytest.mark.parametrize("name", ["anabranch.serve", "anabranch", "ray.serve", "ray"])
def test_what_the_engine_says_is_never_left_out(clock: Clock, name: str) -> None:
    limit = LineLimit(0.1, clock)
    mine, ours = (logging.makeLogRecord({"name": one}) for one in ("rayon", name))
    assert [limit.filter(mine) for _ in range(6)] == [True] * 5 + [False]
    assert all(limit.filter(ours) for _ in range(100))


def test_every_line_is_written_or_counted(written: io.StringIO, clock: Clock) -> None:
    def flood() -> None:
        for _ in range(500):
            logging.getLogger("stdout").info("line")

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now += 10
    logging.getLogger("stdout").info("last")
    kept = lines(written).count("line")
    assert kept == 5 and "1995 lines were left out" in lines(written)
    assert logger.name.startswith("anabranch")
