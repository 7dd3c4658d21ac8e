"""``replay``: sends a request log again, and compares the replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from anabranch.cli import options
from anabranch.cli.input import shares
from anabranch.cli.terminal import Say, progress

if TYPE_CHECKING:
    from anabranch.client.replay import Replayed

_NEWS = 1000
"""Replies between two reports of progress."""


def replay(
    logs: Annotated[
        list[str],
        typer.Argument(
            metavar="LOG", help="Request logs: files, folders, or patterns such as 'logs/r3-*'."
        ),
    ],
    graph: options.GraphName,
    revision: Annotated[
        int | None,
        typer.Option(
            "--revision",
            parser=shares.revision,
            metavar="REVISION",
            help="Revision that gets all requests, such as r3; the traffic's split if left out.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Largest number of requests.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.001, max=1e6, help="Most requests a second."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=256, help="Requests at the same time.")
    ] = 8,
    rtol: Annotated[
        float, typer.Option("--rtol", min=0, max=1, help="Relative tolerance of close numbers.")
    ] = 1e-3,
    atol: Annotated[
        float, typer.Option("--atol", min=0, help="Absolute tolerance of close numbers.")
    ] = 1e-6,
    timeout: options.Timeout = 120.0,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Send logged requests again, and compare the replies with the logged replies.

    Exits with 1 if a reply differs or is an error, or if the log holds no request to send.
    """
    from anabranch.cli.reports.replay import replay_json, replay_text
    from anabranch.client import replay
    from anabranch.router.request_log.reading import log_files, read
    from anabranch.specs.models import Compare

    files = log_files(logs)
    rule, pace = Compare(rtol=rtol, atol=atol), replay.ReplayPace(concurrency, rate, limit)
    with options.client(home) as client:
        client.metadata(graph, revision)
        url, verify = client.graph_url(graph, revision), client.transport.verify
    with progress(f"replaying {len(files)} files to {url}") as say:
        found = asyncio.run(
            replay.replay(url, read(files), rule, pace, timeout, _every(_NEWS, say), verify)
        )
    document = replay_json(graph, revision, found)
    options.show(document, output, lambda _: replay_text(graph, revision, found))
    if not found.is_good:
        raise typer.Exit(1)


def _every(count: int, say: Say) -> Callable[[Replayed], None]:
    """Return a listener that reports progress at every ``count``-th reply."""

    def said(found: Replayed) -> None:
        if found.sent % count == 0:
            say(f"{found.sent} requests, {found.sent - found.outcomes['equal']} not equal")

    return said
