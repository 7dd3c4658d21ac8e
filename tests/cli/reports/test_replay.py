from __future__ import annotations

from anabranch.cli.reports.replay import replay_json, replay_text
from anabranch.client.replay import Replayed


def played() -> Replayed:
    found = Replayed(seconds=1.25)
    for number in range(7):
        found.note(str(number), "equal", "")
    found.note("a", "differs", "output 'y': 4.0 instead of 6.0 at [0, 0]")
    found.note("b", "failed", "status 500: node 'net' failed: it broke")
    found.skipped["redacted"] += 2
    return found


def test_for_people() -> None:
    assert replay_text("digits", 3, played()).splitlines() == [
        "9 requests to digits r3 in 1.2 s",
        "",
        "REPLIES            COUNT",
        "equal              7      every element is equal",
        "close              0      every element is within the tolerance",
        "differs            1      another answer",
        "failed             1      no answer",
        "skipped: redacted  2      not logged in full, for its names",
        "",
        "REQUEST  OUTCOME  WHAT",
        "a        differs  output 'y': 4.0 instead of 6.0 at [0, 0]",
        "b        failed   status 500: node 'net' failed: it broke",
    ]


def test_as_json() -> None:
    assert replay_json("digits", None, played()) == {
        "graph": "digits",
        "revision": None,
        "sent": 9,
        "equal": 7,
        "close": 0,
        "differs": 1,
        "failed": 1,
        "skipped": {"unreadable": 0, "error": 0, "streamed": 0, "redacted": 2, "omitted": 0},
        "remarks": [
            {
                "id": "a",
                "outcome": "differs",
                "detail": "output 'y': 4.0 instead of 6.0 at [0, 0]",
            },
            {
                "id": "b",
                "outcome": "failed",
                "detail": "status 500: node 'net' failed: it broke",
            },
        ],
        "seconds": 1.25,
    }
