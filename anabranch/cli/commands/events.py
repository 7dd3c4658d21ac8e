"""``events``: what has happened to the graphs of an engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.options import add
from anabranch.cli.reports.traffic import local
from anabranch.cli.terminal import result, result_json
from anabranch.cli.watch import followed

if TYPE_CHECKING:
    from anabranch.client.client import ControlClient

Json = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add(app, events, "events shop --follow")


def events(
    graph: options.AnyGraphName = None,
    tail: Annotated[
        int, typer.Option("--tail", min=0, max=1000, help="Number of earlier events.")
    ] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and print new events.")
    ] = False,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Print what has happened to graphs: deploys, traffic, rollouts, drift. Oldest first."""
    with options.client(home) as client:
        if graph is not None:
            client.history(graph, 1)  # an unknown graph is an error, not one without events
        for event in _events(client, graph, tail, follow):
            if output is options.Format.JSON:
                result_json(event, indent=None)
            else:
                result(event_text(event))


def event_text(event: Json) -> str:
    """Return one event as a line, its time in the local zone."""
    at = local(datetime.fromtimestamp(event["at"], UTC))
    revision = "" if event["revision"] is None else f" r{event['revision']}"
    said = f": {event['message']}" if event["message"] else ""
    return f"{at}  {event['graph']}{revision} {event['kind']}{said}"


def _events(client: ControlClient, graph: str | None, tail: int, follow: bool) -> Iterator[Json]:
    """Yield the newest ``tail`` events, and with ``follow`` new events for ever."""
    found = client.newest_events(graph, max(tail, 1))
    yield from found if tail else ()

    def later(last: int) -> tuple[list[Json], int]:
        new = client.events(graph, last)
        return new, new[-1]["id"] if new else last

    if follow:
        yield from followed(found[-1]["id"] if found else 0, later)
