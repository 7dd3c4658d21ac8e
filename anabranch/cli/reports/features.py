"""The report of ``anabranch features check``. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from anabranch.cli.terminal import table
from anabranch.client.features.skew import FeatureSkew, SkewReport


def skew_json(graph: str, report: SkewReport) -> dict[str, Any]:
    """Return a report as JSON: the rows, what was left out, and each feature's differences."""
    return {
        "graph": graph,
        "rows": report.tally.rows,
        "requests": report.tally.requests,
        "skipped": dict(report.tally.skipped),
        "features": {name: _feature(one) for name, one in report.features.items()},
    }


def _feature(one: FeatureSkew) -> dict[str, Any]:
    return {
        "rows": one.rows,
        "different": one.different,
        "share": one.share,
        "mean_difference": one.mean,
        "largest_difference": one.largest,
        "examples": [asdict(example) for example in one.examples],
    }


def skew_text(report: SkewReport) -> str:
    """Return a report as text: a line for each feature, and the first rows that differ."""
    lines = [
        f"{report.tally.rows} rows of {report.tally.requests} requests",
        "",
        table(
            ("FEATURE", "ROWS", "DIFFERENT", "SHARE", "MEAN DIFFERENCE", "LARGEST"),
            [
                (name, one.rows, one.different, f"{one.share:.2%}", f"{one.mean:.6g}",
                 f"{one.largest:.6g}")
                for name, one in report.features.items()
            ],
        ),
    ]  # fmt: skip
    examples = [
        (name, each.id, each.row, each.time, each.served, each.past)
        for name, one in report.features.items()
        for each in one.examples
    ]
    if examples:
        head = ("FEATURE", "REQUEST", "ROW", "TIME", "SERVED", "PAST")
        lines += ["", table(head, examples)]
    return "\n".join(lines)
