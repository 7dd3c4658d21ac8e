"""Scaling that cannot be meant so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.specs.sections.scaling import scaling_rules

PEAK = {"cron": "0 8 * * 1-5", "for": "2h", "min": 2}


def said(scaling: dict[str, Any]) -> list[str]:
    return [f"{'.'.join(map(str, path))}: {text}" for path, text in scaling_rules(scaling)]


@pytest.mark.parametrize(
    "scaling",
    [
        {},
        {"replicas": 3, "max_queue": 0},
        {"max": 3, "schedule": [PEAK]},
        {"max": 3, "schedule": [PEAK | {"timezone": "Europe/Berlin", "cron": "*/5 0 1 JAN MON"}]},
        {"max": "three", "min": None, "schedule": "daily"},
        {"max": 3, "schedule": [None, 1, {"cron": 1, "for": 2, "timezone": 3, "min": "x"}]},
    ],
)
def test_what_is_well(scaling: dict[str, Any]) -> None:
    assert said(scaling) == []


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ({"min": 3, "max": 2}, "min: min 3 is more than max 2"),
        ({"schedule": [PEAK]}, ": autoscaling needs `max`, the most replicas"),
        ({"replicas": 2, "max": 3},
         "replicas: a fixed number excludes autoscaling; remove it or `max`"),
        ({"max": 1, "schedule": [PEAK]}, "schedule.0.min: min 2 is more than max 1"),
        ({"max": 2, "schedule": [PEAK, PEAK | {"for": "0ms"}]},
         "schedule.1.for: must be more than 0"),
        ({"max": 2, "schedule": [PEAK | {"cron": "61 * * * *"}]},
         "schedule.0.cron: Bad minute, in `61 * * * *`"),
        ({"max": 2, "schedule": [PEAK | {"cron": "0 0 30 2 *"}]},
         "schedule.0.cron: Bad day-of-month, in `0 0 30 2 *`"),
        ({"max": 2, "schedule": [PEAK | {"cron": "* * * * * *"}]},
         "schedule.0.cron: needs five fields: minute, hour, day of the month, month, day of the "
         "week, such as `0 8 * * 1-5`"),
        ({"max": 2, "schedule": [PEAK | {"timezone": "Mars/Base"}]},
         "schedule.0.timezone: there is no time zone `Mars/Base`; write one such as UTC"),
        ({"max": 2, "schedule": [PEAK | {"timezone": "../../etc/passwd"}]},
         "schedule.0.timezone: there is no time zone `../../etc/passwd`; write one such as UTC"),
        ({"max": 2, "schedule": [PEAK | {"timezone": ""}]},
         "schedule.0.timezone: there is no time zone ``; write one such as UTC"),
    ],
)  # fmt: skip
def test_what_is_not(scaling: dict[str, Any], expected: str) -> None:
    assert said(scaling) == [expected]


@given(cron=st.text(max_size=40), timezone=st.text(max_size=40))
def test_no_text_breaks_the_rules(cron: str, timezone: str) -> None:
    said({"max": 2, "schedule": [PEAK | {"cron": cron, "timezone": timezone}]})
