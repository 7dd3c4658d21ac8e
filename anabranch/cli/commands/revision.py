"""``history``, ``diff`` and ``rollback``: the revisions of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from anabranch.cli import options
from anabranch.cli.commands.traffic import show_traffic
from anabranch.cli.completion import revisions
from anabranch.cli.input import shares
from anabranch.cli.terminal import progress

if TYPE_CHECKING:
    from anabranch.client.client import ControlClient
    from anabranch.client.http import Json


def history(
    graph: options.GraphName,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=10_000, help="Number of revisions.")
    ] = 100,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """List the revisions of a graph, newest first."""
    from anabranch.cli.reports.graph import history_text

    with options.client(home) as client:
        found = client.history(graph, limit)
    options.show(found, output, history_text)


def diff(
    graph: options.GraphName,
    first: Annotated[
        str,
        typer.Argument(metavar="A", help="A revision, such as r3.", autocompletion=revisions),
    ],
    second: Annotated[
        str,
        typer.Argument(metavar="B", help="Another revision, such as r4.", autocompletion=revisions),
    ],
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show the differences between two revisions: specs, plans, files."""
    from anabranch.cli.reports.graph import difference_text

    before, after = shares.revision(first), shares.revision(second)
    with options.client(home) as client:
        found = client.diff(graph, before, after)
    options.show(found, output, difference_text)


def rollback(
    graph: options.GraphName,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="REVISION",
            help="Revision to go back to, such as r3; the previous stable revision if left out.",
            autocompletion=revisions,
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the revision is live.")
    ] = True,
    timeout: options.Timeout = 120.0,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Go back to an earlier revision: at once while it is warm, otherwise after starting it.

    A graph that was deleted comes back with its last stable revision, or with the one of `--to`.
    """
    number = None if to is None else shares.revision(to)
    with options.client(home) as client:
        found = client.rollback(graph, number)
        if found["state"] != "live" and wait:
            found = _brought_up(client, graph, found["revision"], timeout)
    text = f"{graph} revision {found['revision']} is {found['state']}"
    show_traffic(found, output, lambda _: text)


def _brought_up(client: ControlClient, graph: str, number: int, timeout: float) -> Json:
    with progress(f"{graph} revision {number} is down; bringing it up again") as say:
        up = client.wait(graph, number, timeout, say)
    return client.traffic(graph) | {"revision": number, "state": up["state"]}
