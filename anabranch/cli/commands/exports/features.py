"""``features``: training sets of request logs, and how served features differ from the past."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.commands.events import Since, moment
from anabranch.cli.input import shares
from anabranch.cli.terminal import Say, progress, result

if TYPE_CHECKING:
    from anabranch.client.features.export import ExportTally
    from anabranch.client.features.logged_rows import RowFilter
    from anabranch.graph.compile.loading import Loaded

Logs = Annotated[
    list[str],
    typer.Option(
        "--from",
        metavar="LOG",
        help="Request logs: files, folders, or patterns such as 'logs/r3-*'. Repeatable.",
    ),
]
Until = Annotated[
    float | None,
    typer.Option("--until", parser=moment, metavar="TIME", help="Time at which requests end."),
]


def export(
    file: options.SpecFile,
    logs: Logs,
    target: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="A file *.parquet or *.csv."),
    ],
    since: Since = None,
    until: Until = None,
    point_in_time: Annotated[
        bool,
        typer.Option(
            "--point-in-time",
            help="Take features from the store of the past, as they were at each request.",
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Labels of requests, *.parquet or *.csv with a column `id`; rows without are "
            "left out.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Write the rows of a request log, with the features that they were served, to a table.

    The spec says which inputs, features and outputs there are; no engine is asked.
    """
    from anabranch.client.features.export import check_any, export, rewards_of
    from anabranch.client.features.logged_rows import columns_of
    from anabranch.client.features.past import lookups_of, open_past, opened
    from anabranch.graph.compile.loading import open_graph
    from anabranch.router.request_log.reading import log_files, read, read_rewards

    loaded, files = open_graph(file), log_files(logs)
    plan, wanted = loaded.plan, _wanted(loaded, since, until)
    log = plan.telemetry.requests
    has_rewards = log is not None and log.feedback
    rewards = rewards_of(read_rewards(files), plan.name) if has_rewards else None
    past = open_past(plan, loaded.root, lookups_of(plan)) if point_in_time else []

    async def run(say: Say) -> ExportTally:
        async with opened(past):
            events = read(files)
            return await export(
                events, wanted, columns_of(plan), past, target, labels, rewards, _reported(say)
            )

    with progress(f"reading {len(files)} files") as say:
        tally = asyncio.run(run(say))
    check_any(tally, plan.name)
    result(f"{target}: {tally.rows} rows of {tally.requests} requests{_left_out(tally)}")


def check(
    file: options.SpecFile,
    logs: Logs,
    since: Since = None,
    until: Until = None,
    allow: Annotated[
        float,
        typer.Option(
            "--allow",
            parser=shares.percent,
            metavar="PERCENT",
            help="Share of the rows of a feature that may differ, in percent.",
        ),
    ] = 0.0,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Compare features as they were served with those of the store of the past.

    Exits with 1 if a feature differs in more rows than --allow says.
    """
    from anabranch.cli.reports.features import skew_json, skew_text
    from anabranch.client.features.export import check_any
    from anabranch.client.features.logged_rows import columns_of
    from anabranch.client.features.past import lookups_of, open_past, opened
    from anabranch.client.features.skew import SkewReport, compare
    from anabranch.graph.compile.loading import open_graph
    from anabranch.router.request_log.reading import log_files, read

    loaded, files = open_graph(file), log_files(logs)
    plan, wanted = loaded.plan, _wanted(loaded, since, until)
    past = open_past(plan, loaded.root, lookups_of(plan))

    async def run(say: Say) -> SkewReport:
        async with opened(past):
            return await compare(read(files), wanted, columns_of(plan), past, _reported(say))

    with progress(f"reading {len(files)} files") as say:
        report = asyncio.run(run(say))
    check_any(report.tally, plan.name)
    options.show(skew_json(plan.name, report), output, lambda _: skew_text(report))
    if not report.is_within(allow / 100):
        raise typer.Exit(1)


def _wanted(loaded: Loaded, since: float | None, until: float | None) -> RowFilter:
    from anabranch.client.features.logged_rows import RowFilter

    bounds: dict[str, Any] = {"since": since, "until": until}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return RowFilter(loaded.plan.name, **given)


def _reported(say: Say) -> Callable[[ExportTally], None]:
    return lambda tally: say(f"{tally.rows} rows")


def _left_out(tally: ExportTally) -> str:
    reasons = [f"{count} {reason}" for reason, count in sorted(tally.skipped.items())]
    reasons += [f"{tally.unlabelled} rows without a label"] * bool(tally.unlabelled)
    return f" (left out: {', '.join(reasons)})" if reasons else ""
