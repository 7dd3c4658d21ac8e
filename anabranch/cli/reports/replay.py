"""The report of ``anabranch replay``. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

from anabranch.cli.terminal import table
from anabranch.client.replay import Outcome, Replayed, Skipped

_OUTCOMES: dict[Outcome, str] = {
    "equal": "every element is equal",
    "close": "every element is within the tolerance",
    "differs": "another answer",
    "failed": "no answer",
}
_SKIPPED: dict[Skipped, str] = {
    "unreadable": "not a request, such as a line that is cut off",
    "error": "answered with an error when it was logged",
    "streamed": "answered piece by piece",
    "redacted": "not logged in full, for its names",
    "omitted": "not logged in full, for its size",
}


def replay_json(graph: str, revision: int | None, found: Replayed) -> dict[str, Any]:
    """Return a replay as JSON: counts by outcome, skipped requests by reason, first differences."""
    return {
        "graph": graph,
        "revision": revision,
        "sent": found.sent,
        **{outcome: found.outcomes[outcome] for outcome in get_args(Outcome)},
        "skipped": {reason: found.skipped[reason] for reason in get_args(Skipped)},
        "remarks": [asdict(remark) for remark in found.remarks],
        "seconds": round(found.seconds, 3),
    }


def replay_text(graph: str, revision: int | None, found: Replayed) -> str:
    """Return the report on a replay as text."""
    to = graph if revision is None else f"{graph} r{revision}"
    lines = [f"{found.sent} requests to {to} in {found.seconds:.1f} s", ""]
    rows: list[tuple[str, int, str]] = [
        (name, found.outcomes[name], what) for name, what in _OUTCOMES.items()
    ]
    rows += [
        (f"skipped: {name}", found.skipped[name], what)
        for name, what in _SKIPPED.items()
        if found.skipped[name]
    ]
    lines.append(table(("REPLIES", "COUNT", ""), rows))
    if found.remarks:
        remarks = [(one.id, one.outcome, one.detail) for one in found.remarks]
        lines += ["", table(("REQUEST", "OUTCOME", "WHAT"), remarks)]
    return "\n".join(lines)
