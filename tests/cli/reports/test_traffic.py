"""What people read of traffic."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.cli.reports import traffic as reports

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ROLLOUT = {
    "revision": 4, "phase": "running", "paused_by": None, "paused_at": None,
    "approval": None, "reason": "", "step": 2,
    "steps": [5, 25, 50], "weight": 25, "verdict": "pass", "failures": {}, "errors": {},
    "measurements": [], "waiting_since": None,
    "next_look": "2026-01-01T12:00:04.000+00:00", "held_until": "2026-01-01T12:03:00.000+00:00",
    "plan": {"steps": [5, 25, 50]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("share", "filled"),
    [(0, 0), (0.001, 1), (2, 1), (5, 1), (50, 10), (95, 19), (99.999, 19), (100, 20)],
)
def test_a_bar_shows_what_is_more_than_nothing_and_less_than_all(share, filled):
    assert reports.bar(share) == "█" * filled + "░" * (20 - filled)


@given(st.floats(0, 100))
def test_every_bar_is_as_wide(share):
    assert len(reports.bar(share)) == reports.BAR


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0 us"),
        (12.3e-6, "12.3 us"),
        (0.00312, "3.12 ms"),
        (0.9994, "999 ms"),
        (1.5, "1.5 s"),
        (90, "90 s"),
        (600, "10 min"),
        (-0.25, "-250 ms"),
    ],
)
def test_durations(seconds, text):
    assert reports.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0.0"), (3.14159, "3.1"), (99.99, "100.0"), (1234.5, "1234")],
)
def test_rates(value, text):
    assert reports.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0 %"),
        (1e-6, "< 0.01 %"),
        (0.0123456, "1.235 %"),
        (0.99999, "> 99.99 %"),
        (1, "100 %"),
    ],
)
def test_fractions(value, text):
    assert reports.fraction(value) == text


def test_a_rollout_says_what_it_waits_for():
    assert reports.rollout_text(ROLLOUT, NOW).splitlines() == [
        "rollout of r4: running, step 2 of 3: 25 %   5 > [25] > 50 > stable",
        "  next look in 4 s; held long enough in 3 min",
    ]


def test_a_rollout_that_is_over_stands_at_its_end():
    over = ROLLOUT | {"next_look": None, "held_until": None}
    promoted = over | {"phase": "promoted", "step": 3, "weight": 50}
    text = "rollout of r4: promoted   5 > 25 > 50 > [stable]"
    assert reports.rollout_text(promoted, NOW) == text
    aborted = over | {"phase": "aborted", "reason": "failed (1) > failure_limit (0)"}
    assert reports.rollout_text(aborted, NOW).splitlines() == [
        "rollout of r4: aborted, step 2 of 3: 25 %   5 > [25] > 50 > stable",
        "  failed (1) > failure_limit (0)",
    ]


def test_what_is_overdue_is_due_now():
    late = NOW.replace(minute=30)
    assert "next look in 0 s" in reports.rollout_text(ROLLOUT, late)


def test_a_rollout_says_why_it_was_paused_and_by_what_it_is_judged():
    metrics = [{"metric": "latency_p95", "max": "1.2x"}, {"metric": "agreement", "min": 0.9}]
    found = ROLLOUT | {
        "phase": "paused", "paused_by": "gate", "reason": "the gate refused",
        "next_look": None, "held_until": None, "plan": {"analysis": {"metrics": metrics}},
        "measurements": [
            {"verdict": "pass", "message": "latency_p95 4 ms <= max 5 ms, over 900 requests"},
            {"verdict": "inconclusive", "message": "0 samples < min_samples 10"},
        ],
    }  # fmt: skip
    assert reports.rollout_text(found, NOW).splitlines() == [
        "rollout of r4: paused (gate), step 2 of 3: 25 %   5 > [25] > 50 > stable",
        "  the gate refused",
        "  judged by latency_p95 <= 1.2x, agreement >= 0.9",
        "  last look: pass: latency_p95 4 ms <= max 5 ms, over 900 requests",
        "  last look: inconclusive: 0 samples < min_samples 10",
    ]
    assert reports.rollout_hint(found, "g") == (
        "next: `anabranch rollout g resume`, `promote` or `abort`"
    )
    assert reports.rollout_hint(ROLLOUT, "g") is None


def test_a_rollout_that_waits_for_an_approval_says_for_whom_and_since_when():
    found = ROLLOUT | {
        "phase": "paused", "paused_by": "approval", "reason": "it waits for an approval",
        "paused_at": NOW.isoformat(), "approval": {"role": "operator", "other_than": "token"},
    }  # fmt: skip
    since = reports.local(NOW)
    assert f"  it waits for an approval, since {since}" in reports.rollout_text(found, NOW)
    assert reports.rollout_hint(found, "g") == (
        "next: `anabranch rollout g approve` by who may, or `abort`"
    )


def test_a_rollout_that_waits_says_since_when_and_what_for():
    missing = "error_rate: 3 requests < min_samples (10), 7 missing"
    found = ROLLOUT | {
        "waiting_since": NOW.isoformat(),
        "measurements": [
            {"verdict": "pass", "message": "reward 1 >= min 0"},
            {"verdict": "inconclusive", "message": missing},
        ],
    }
    text = reports.rollout_text(found, NOW)
    assert f"waiting since {NOW.astimezone():%Y-%m-%d %H:%M:%S} for a look" in text
    assert f"last look: inconclusive: {missing}" in text
    assert reports.rollout_line(found).endswith(f"> stable: {missing}")
    assert reports.rollout_line(ROLLOUT).endswith("> stable")
    assert reports.rollout_line(ROLLOUT | {"reason": "why"}).endswith("> stable: why")


@pytest.mark.parametrize(
    ("confirmed", "known", "text"),
    [
        (0, 0, "no router is running yet"),
        (1, 1, "in force in the router"),
        (3, 3, "in force in all 3 routers"),
        (1, 3, "in force in 1 of 3 routers; the others"),
    ],
)
def test_how_far_a_change_is_in_force(confirmed, known, text):
    routers = {"routers": {"confirmed": confirmed, "known": known}}
    assert reports.routers_text(routers).startswith(text)


def test_traffic_of_a_graph_without_any():
    assert reports.traffic_text({"weights": {}, "mirrors": {}}) == "no traffic yet"


def test_an_idle_arm_has_dashes():
    arm = {
        "revision": 1, "state": "live", "share": 100, "requests_per_second": None,
        "error_rate": None, "latency": {"p50": None, "p95": None, "p99": None},
    }  # fmt: skip
    assert reports.arms_text([arm]).splitlines()[1].split()[-5:] == ["-"] * 5


def rewards(count, mean, error=None, accuracy=None):
    return {"rewards": count, "reward": mean, "reward_error": error, "judged": 0,
            "accuracy": accuracy}  # fmt: skip


def test_feedback_shows_arms_and_routes_that_had_any():
    route = {"router": "chooser", "route": "net", **rewards(2, -0.5, 0.125)}
    arms = [
        {"revision": 1, "feedback": {**rewards(0, None), "routes": []}},
        {"revision": 2, "feedback": {**rewards(3, 0.25, 0.125, 0.5), "routes": [route]}},
    ]
    assert reports.feedback_text(arms[:1]) == ""
    assert [line.rstrip() for line in reports.feedback_text(arms).splitlines()] == [
        "FEEDBACK  ROUTE          REWARDS  MEAN         ACCURACY",
        "r2        -              3        0.25 ± 0.12  50 %",
        "r2        chooser > net  2        -0.5 ± 0.12  -",
    ]
