"""Fields of a deploy as an intent."""

from __future__ import annotations

import pytest

from anabranch.client.bundle.intents import intent


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"canary": 0.0}, {"kind": "canary", "percent": 0.0}),
        ({"mirror": 25.0}, {"kind": "mirror", "percent": 25.0}),
        ({"rollout": [5.0]}, {"kind": "rollout", "rollout": {"steps": [5.0]}}),
        (
            {"rollout": [5.0], "hold": "2m"},
            {"kind": "rollout", "rollout": {"steps": [5.0], "hold": "2m"}},
        ),
        ({"now": True}, {"kind": "replace"}),
    ],
)
def test_options(options, expected):
    assert intent(**options) == expected


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"canary": 0.0, "mirror": 0.0}, "only one of --canary, --mirror"),
        ({"now": True, "rollout": [5.0]}, "only one of --rollout, --now"),
        ({"hold": "2m"}, "--hold goes with --rollout"),
        ({"hold": "2m", "canary": 5.0}, "--hold goes with --rollout"),
    ],
)
def test_options_at_odds(options, named):
    with pytest.raises(ValueError, match=named):
        intent(**options, shown=lambda field: f"--{field}")
