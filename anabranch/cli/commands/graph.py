"""``deploy``, ``status``, ``delete`` and ``logs``: commands for the graphs of an engine."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.completion import nodes, revisions
from anabranch.cli.input import shares
from anabranch.cli.terminal import confirm, note, progress, result, result_json, warn

if TYPE_CHECKING:
    from anabranch.client.client import ControlClient
    from anabranch.client.http import Json

_SHOWN = 10
"""Revisions that ``status`` shows, beside those that are up."""


def deploy(
    file: options.GraphSource,
    canary: options.Canary = None,
    mirror: options.Mirror = None,
    rollout: options.Rollout = None,
    hold: options.Hold = None,
    now: options.Now = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Make a new revision also if one with this content runs."),
    ] = False,
    sign: options.SignKey = None,
    home: options.Home = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the revision is up.")
    ] = True,
    wait_rollout: Annotated[
        bool,
        typer.Option(
            "--wait-rollout",
            help="Wait for the end of the revision's rollout; exit with 1 unless it is promoted.",
        ),
    ] = False,
    timeout: options.Timeout = 120.0,
    author: options.Author = "",
    message: options.Message = "",
    output: options.Output = options.Format.TABLE,
) -> None:
    """Deploy a graph as a new revision. The stable revision answers until the new one is up.

    Then the new revision takes over, unless the spec's `rollout` block or an option makes it a
    canary, a mirror or the candidate of a rollout. A file and folder that are a revision in the
    traffic already change nothing, unless `--force`. A portable bundle, which `build` makes, brings
    its models along.
    """
    from anabranch.cli.commands.deploy import deploy_and_wait, send, until_rolled_out
    from anabranch.cli.reports.graph import outcome_text
    from anabranch.client.bundle.author import author_of
    from anabranch.client.bundle.intents import intent
    from anabranch.client.connection.engine_state import resolve_home

    author = author or author_of(options.folder_of(file))
    try:
        wanted = intent(canary, mirror, rollout, hold, now, shown=lambda field: f"--{field}")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    folder = resolve_home(home)
    with options.client(home) as client:
        with progress(f"deploying {file}") as say:
            if wait or wait_rollout:
                done = deploy_and_wait(
                    client, file, folder, timeout, say, author, message, wanted, force, sign
                )
            else:
                done = send(
                    client, file, folder, author, message, wanted, force=force, sign=sign, say=say
                )
        if wait_rollout and _is_rolling(client, done):
            until_rolled_out(client, done["graph"], inf)
            done |= {"state": client.revision(done["graph"], done["revision"])["state"]}
        if output is options.Format.JSON:
            result_json(done)
            return
        text, hint = outcome_text(done, client.graph(done["graph"], limit=1))
    result(text)
    if hint:
        note(hint)


def _is_rolling(client: ControlClient, done: Json) -> bool:
    rollout = client.graph(done["graph"], limit=1)["rollout"]
    return rollout is not None and rollout["revision"] == done["revision"]


def status(
    graph: options.AnyGraphName = None,
    home: options.Home = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on and print every change.")
    ] = False,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show the graphs of the engine, or one graph: traffic, rollout, segments, revisions.

    With all graphs come the namespaces that have a quota, and the part of it that is taken.
    """
    from anabranch.cli.reports.graph import status_text
    from anabranch.cli.watch import watch as watch_for_ever

    as_json = output is options.Format.JSON
    with options.client(home) as client:
        _warn_of_certificate(home, client)

        def fetch() -> dict[str, Any]:
            if graph is not None:
                return client.graph(graph, _SHOWN)
            return {"graphs": client.graphs(), "namespaces": client.namespaces()}

        if watch:
            watch_for_ever(fetch, status_text, as_json=as_json)
        found = fetch()
    options.show(found, output, status_text)


def _warn_of_certificate(home: Path | None, client: ControlClient) -> None:
    """Warn of the certificate of the engine on this machine, if it is the one that is asked."""
    from anabranch.client.connection.engine_state import read_state, resolve_home

    folder = resolve_home(home)
    state = read_state(folder)
    if state is not None and state.trusted and state.http == client.transport.url:
        from anabranch.control.settings.tls import in_force

        for text in in_force(folder).warnings():
            warn(text)


def delete(
    graph: options.GraphName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    home: options.Home = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the graph is deleted.")
    ] = True,
    timeout: options.Timeout = 120.0,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Delete a graph, after asking. Its revisions stay on record: `rollback` brings it back."""
    if not yes:
        confirm(f"Delete graph {graph}, with all that serves it?")
    with options.client(home) as client, progress(f"deleting {graph}"):
        client.delete(graph)
        if wait:
            client.wait_gone(graph, timeout)
    state = "deleted" if wait else "deleting"
    if output is options.Format.JSON:
        result_json({"graph": graph, "state": state})
    else:
        result(f"{graph} is {'gone' if wait else 'going'}")
        note(f"`anabranch rollback {graph}` brings it back")


def logs(
    graph: options.GraphName,
    home: options.Home = None,
    tail: Annotated[
        int, typer.Option("--tail", min=0, max=10_000, help="Number of earlier lines.")
    ] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and print new lines.")
    ] = False,
    node: Annotated[
        str | None, typer.Option("--node", help="Lines of one node.", autocompletion=nodes)
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision",
            metavar="REVISION",
            help="Lines of one revision, such as r3.",
            autocompletion=revisions,
        ),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="Lines about one request.")
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option("--machine", help="Lines of one machine of a cluster, by name or address."),
    ] = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Print the log lines of a graph's replicas, and their printed lines, in the order of time."""
    from anabranch.cli.commands.log_lines import lines, nothing, text

    number = None if revision is None else shares.revision(revision)
    wanted = {
        "node": node,
        "revision": number,
        "request_id": request_id,
        "machine": machine,
    }
    is_empty = True
    with options.client(home) as client:
        for line in lines(client, graph, tail, follow, **wanted):
            is_empty = False
            if output is options.Format.JSON:
                result_json(line, indent=None)
            else:
                result(text(line))
    if is_empty:
        note(nothing(graph, wanted))
