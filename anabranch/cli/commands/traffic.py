"""``traffic``, ``promote``, ``abort``, ``compare`` and ``rollout``: traffic between revisions."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.completion import revisions
from anabranch.cli.input import shares
from anabranch.cli.terminal import confirm, counted, note
from anabranch.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.client.client import ControlClient

Json = dict[str, Any]


Action = StrEnum("Action", ["status", "pause", "resume", "approve", "promote", "abort"])
"""Actions on a rollout."""
Full = Annotated[
    bool,
    typer.Option("--full", help="Promote in the middle of a rollout, too, without asking."),
]


def traffic(
    graph: options.GraphName,
    weights: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REVISION=WEIGHT",
            help="Weights, such as r3=90 r4=10; only their ratio counts, and arms that are left out"
            " get 0. Without weights and --mirror, show the traffic.",
        ),
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            metavar="REVISION=PERCENT",
            help="Copy a share of the requests to a revision, such as r5=25; 0 ends the mirror."
            " Repeatable.",
        ),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Do not ask, even if the stable revision gets 0."),
    ] = False,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show or set how requests are split between the revisions of a graph.

    Asks before the stable revision loses all of its traffic: `promote` is the usual way to do so.
    """
    from anabranch.cli.reports.traffic import traffic_text

    split, copied = shares.weights(weights or []), shares.percentages(mirror or [])
    with options.client(home) as client:
        changes = bool(split or copied)
        if sum(split.values()) > 0 and not yes:
            stable = client.traffic(graph)["live"]
            if stable is not None and not split.get(stable):
                confirm(
                    f"the stable revision r{stable} of {graph} gets no more requests, and stays the"
                    " stable one (`anabranch promote` makes another revision stable); continue?"
                )
        found = client.set_traffic(graph, split, copied) if changes else client.traffic(graph)
    show_traffic(found, output, traffic_text)


def promote(
    graph: options.GraphName,
    revision: Annotated[
        str | None,
        typer.Argument(
            metavar="REVISION",
            help="Revision, such as r4; the candidate if left out.",
            autocompletion=revisions,
        ),
    ] = None,
    full: Full = False,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Make a revision the stable one, with all traffic. The replaced revision stays warm.

    In the middle of a rollout this skips its remaining steps and its analysis, so it asks first.
    `rollout GRAPH resume` goes one step on.
    """
    number = None if revision is None else shares.revision(revision)
    with options.client(home) as client:
        if not full:
            _confirm_promotion(client, graph)
        found = client.promote(graph, number)
    show_traffic(
        found, output, lambda now: f"{graph} revision {now['live']} is live, with all traffic"
    )


def abort(
    graph: options.GraphName,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Give all traffic back to the stable revision, and end a rollout."""
    with options.client(home) as client:
        found = client.abort(graph)
    text = f"{graph} revision {found['live']} has all traffic again"
    show_traffic(found, output, lambda _: text)


def compare(
    graph: options.GraphName,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Compare the answers and latencies of a graph's mirrors with those of its arms."""
    from anabranch.cli.reports.traffic import compare_text

    with options.client(home) as client:
        show_traffic(client.compare(graph), output, compare_text)


def rollout(
    graph: options.GraphName,
    action: Annotated[Action, typer.Argument(help="Action on the rollout.")] = Action.status,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on and print every change.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait for the end; exit with 1 unless that is a promotion."),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            parser=options.duration,
            metavar="DURATION",
            help="Longest wait of --wait, such as 30m; without end if left out.",
            show_default=False,
        ),
    ] = inf,
    full: Full = False,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show, pause, resume, approve, promote or abort a graph's rollout, or wait for its end.

    `resume` goes one step on. `promote` skips all remaining steps and the analysis, and asks first.
    """
    from anabranch.cli.commands.deploy import until_rolled_out
    from anabranch.cli.reports.traffic import rollout_hint, rollout_now
    from anabranch.cli.watch import watch as watch_for_ever

    with options.client(home) as client:
        if action is Action.promote and not full:
            _confirm_promotion(client, graph)
        if action is not Action.status:
            client.move_rollout(graph, action)
        if watch:
            as_json = output is options.Format.JSON
            watch_for_ever(lambda: client.rollout(graph), rollout_now, as_json=as_json)
        found = until_rolled_out(client, graph, timeout) if wait else client.rollout(graph)
    show_traffic(found, output, rollout_now)
    hint = rollout_hint(found, graph)
    if hint is not None:
        note(hint)


def _confirm_promotion(client: ControlClient, graph: str) -> None:
    """Ask before a promotion that skips steps of the rollout in progress."""
    try:
        state = client.rollout(graph)
    except NotFound:
        return
    if state["phase"] not in ("running", "paused"):
        return
    step, step_count = state["step"], len(state["steps"])
    skipped = "its analysis" if state["plan"].get("analysis") else "its last hold"
    if remaining := step_count - step:
        skipped = f"{counted(remaining, 'remaining step')} and {skipped}"
    confirm(
        f"the rollout of {graph} revision {state['revision']} is in step {step} of {step_count};"
        f" a promotion now skips {skipped}; continue?",
        f"`anabranch rollout {graph} resume` goes one step on, and --full promotes at once",
    )


def show_traffic(found: Json, output: options.Format, text: Callable[[Json], str]) -> None:
    """Print a result, and the number of routers that have the change in force."""
    from anabranch.cli.reports.traffic import routers_text

    options.show(found, output, text)
    if output is not options.Format.JSON and "routers" in found:
        note(routers_text(found))
