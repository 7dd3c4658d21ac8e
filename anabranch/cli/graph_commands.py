"""``deploy``, ``status``, ``delete`` and ``logs``: commands about graphs on an engine."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from anabranch.cli import options
from anabranch.cli.completion import graph_names
from anabranch.cli.console import progress, result, result_json

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.control.client import ControlClient

_PAUSE_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(deploy)
    app.command()(status)
    app.command()(delete)
    app.command()(logs)


def deploy(
    file: options.SpecFile,
    home: options.Home = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the revision is live.")
    ] = True,
    timeout: options.Timeout = 120.0,
    author: options.Author = "",
    message: options.Message = "",
    output: options.Output = options.Format.TABLE,
) -> None:
    """Deploy a graph as a new revision. The one before it answers until the new one is live."""
    from anabranch.cli.deploying import deploy_and_wait, send

    with _client(home) as client, progress(f"deploying {file}") as say:
        if wait:
            done = deploy_and_wait(client, file, timeout, say, author, message)
        else:
            done = send(client, file, author, message)
    if output is options.Format.JSON:
        result_json(done)
    else:
        result(f"{done['graph']} revision {done['revision']} is {done['state']}")


def status(
    graph: Annotated[
        str | None,
        typer.Argument(metavar="GRAPH", help="One graph.", autocompletion=graph_names),
    ] = None,
    home: options.Home = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Print every change.")] = False,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show the graphs of the engine, or the revisions of one graph."""
    from anabranch.cli.reports import status_text

    with _client(home) as client:
        last = None
        while True:
            found = {"graphs": client.graphs()} if graph is None else client.graph(graph)
            if found != last:
                _clear_if(watch and last is not None)
                json = output is options.Format.JSON
                result_json(found, indent=None if watch else 2) if json else result(
                    status_text(found)
                )
            if not watch:
                return
            last = found
            time.sleep(_PAUSE_S)


def delete(
    graph: options.GraphName,
    home: options.Home = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is gone.")] = True,
    timeout: options.Timeout = 120.0,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Take a graph down. Its revisions stay on record."""
    with _client(home) as client, progress(f"deleting {graph}"):
        client.delete(graph)
        if wait:
            client.wait_gone(graph, timeout)
    state = "deleted" if wait else "deleting"
    if output is options.Format.JSON:
        result_json({"graph": graph, "state": state})
    else:
        result(f"{graph} is {'gone' if wait else 'going'}")


def logs(
    graph: options.GraphName,
    home: options.Home = None,
    tail: Annotated[int, typer.Option("--tail", min=0, max=10_000, help="Last lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show what a graph's replicas wrote."""
    from anabranch.cli.following import new_lines
    from anabranch.cli.running import TAIL

    with _client(home) as client:
        seen = client.logs(graph, max(tail, TAIL) if follow else tail).splitlines()
        _print_lines(seen[-tail:] if tail else [], output)
        while follow:
            time.sleep(_PAUSE_S)
            now = client.logs(graph, max(tail, TAIL)).splitlines()
            _print_lines(new_lines(seen, now), output)
            seen = now


def _print_lines(lines: list[str], output: options.Format) -> None:
    for line in lines:
        if output is options.Format.JSON:
            result_json({"line": line}, indent=None)
        else:
            result(line)


def _clear_if(wanted: bool) -> None:
    """Start a fresh screen between two states; a pipe gets one state after the other."""
    if wanted and sys.stdout.isatty():
        sys.stdout.write("\x1b[H\x1b[2J")


def _client(home: Path | None) -> ControlClient:
    from anabranch.control.client import ControlClient
    from anabranch.control.engine_state import resolve_home

    return ControlClient.of_home(resolve_home(home))
