"""Known peaks: when they ask for replicas, over changes of the clock too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from anabranch.serve.scaling.peaks import LEAD_S, floor
from anabranch.specs.models import Peak


def peak(cron: str, length: str, least: int = 3, timezone: str = "Europe/Berlin") -> Peak:
    return Peak.model_validate({"cron": cron, "for": length, "min": least, "timezone": timezone})


def at(text: str) -> float:
    """The Unix time of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


MORNING = peak("0 8 * * 1-5", "2h")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # Friday in winter: 8:00 in Berlin is 7:00 in UTC, and replicas are there 30 s before.
        ("2026-03-27 06:59:29", 0),
        ("2026-03-27 06:59:30", 3),
        ("2026-03-27 07:00:00", 3),
        ("2026-03-27 08:59:59", 3),
        ("2026-03-27 09:00:00", 0),
        # Saturday and Sunday have no peak, on Monday clocks have changed.
        ("2026-03-28 07:30:00", 0),
        ("2026-03-30 05:59:30", 3),
        ("2026-03-30 07:59:59", 3),
        ("2026-03-30 08:00:00", 0),
    ],
)
def test_a_peak_begins_a_little_early_by_the_wall_clock(now: str, expected: int) -> None:
    assert floor([MORNING], at(now)) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # 1:30 in Berlin; at 2:00 clocks go to 3:00. The peak lasts two real hours all the same.
        ("2026-03-29 00:29:00", 0),
        ("2026-03-29 00:30:00", 3),
        ("2026-03-29 02:29:59", 3),
        ("2026-03-29 02:30:00", 0),
        # At 3:00 clocks go back to 2:00.
        ("2026-10-24 23:30:00", 3),
        ("2026-10-25 01:29:59", 3),
        ("2026-10-25 01:30:00", 0),
    ],
)
def test_a_peak_has_its_length_when_clocks_change(now: str, expected: int) -> None:
    assert floor([peak("30 1 * * *", "2h")], at(now)) == expected


def test_a_start_that_the_clock_leaves_out_is_not_lost() -> None:
    assert floor([peak("30 2 * * *", "1h")], at("2026-03-29 01:10:00")) == 3


def test_the_highest_of_several_counts() -> None:
    peaks = [MORNING, peak("0 9 * * *", "10m", 5), peak("0 0 1 1 *", "1m", 9)]
    assert floor(peaks, at("2026-03-27 08:05:00")) == 5
    assert floor(peaks, at("2026-03-27 08:15:00")) == 3
    assert floor([], at("2026-03-27 08:15:00")) == 0


def test_a_peak_that_begins_anew_before_it_ends_never_ends() -> None:
    always = peak("*/10 * * * *", "1h")
    start = at("2026-03-29 00:00:00")
    assert {floor([always], start + minute * 60) for minute in range(300)} == {3}


@given(
    cron=st.sampled_from(["*/7 * * * *", "30 2 * * *", "15 1,3 * * *", "0 0 1 * *", "5 4 * * 0"]),
    seconds=st.integers(60, 3 * 24 * 3600),
    now=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(
        lambda found: found.replace(tzinfo=UTC, microsecond=0)
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)
def test_it_is_what_a_walk_through_all_starts_says(
    cron: str, seconds: int, now: datetime, zone: str
) -> None:
    begin = (now - timedelta(days=5)).astimezone(ZoneInfo(zone))
    expected = False
    for start in CronSim(cron, begin):
        early = start.timestamp() - LEAD_S
        if early > now.timestamp():
            break
        expected |= now.timestamp() < start.timestamp() + seconds
    found = floor([peak(cron, f"{seconds}s", 2, zone)], now.timestamp())
    assert found == (2 if expected else 0)
