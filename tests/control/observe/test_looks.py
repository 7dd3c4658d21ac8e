"""The looks of rollouts that are remembered, and how many."""

from __future__ import annotations

from anabranch.control.lifecycle.rollouts import Measurement
from anabranch.control.observe.looks import MOST_MEASUREMENTS, LookHistory

PASSED = Measurement("error_rate", "pass", "in words", value=0.0, limit=0.01, samples=50)
BLANK = Measurement("reward", "inconclusive", "in words")


def test_a_look_is_shown_without_its_words() -> None:
    looks = LookHistory()
    looks.take("digits", 12.5, 3, 0, [PASSED, BLANK])
    assert looks.view("digits") == [
        {
            "at": 12.5,
            "revision": 3,
            "step": 1,
            "measurements": [
                {"metric": "error_rate", "verdict": "pass", "value": 0.0, "limit": 0.01},
                {"metric": "reward", "verdict": "inconclusive", "value": None, "limit": None},
            ],
        }
    ]
    assert looks.view("other") == []


def test_the_oldest_looks_go() -> None:
    looks = LookHistory()
    for at in range(MOST_MEASUREMENTS):
        looks.take("digits", float(at), 2, 0, [PASSED, BLANK])
    found = looks.view("digits")
    assert len(found) == MOST_MEASUREMENTS // 2
    assert found[-1]["at"] == MOST_MEASUREMENTS - 1


def test_looks_at_a_graph_that_is_gone_are_forgotten() -> None:
    looks = LookHistory()
    looks.take("digits", 1.0, 2, 0, [PASSED])
    looks.take("other", 1.0, 2, 0, [PASSED])
    looks.keep({"other"})
    assert looks.view("digits") == [] and looks.view("other") != []
