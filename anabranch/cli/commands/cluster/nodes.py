"""``nodes``: the machines of an engine."""

from __future__ import annotations

from typing import Annotated

import typer

from anabranch.cli import options
from anabranch.cli.reports.nodes import nodes_text
from anabranch.cli.terminal import progress

NodeName = Annotated[
    str, typer.Argument(metavar="NODE", help="Name, address or id of the machine.")
]


def show(
    ctx: typer.Context,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """List the machines of the engine, what runs on each, and what waits for a place on one."""
    options.listed(ctx, home, output, lambda client: client.nodes(), nodes_text)


def drain(
    node: NodeName,
    home: options.Home = None,
    timeout: options.Leaving = 600.0,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Move all replicas from a machine to others; it leaves the engine then."""
    with options.client(home) as client, progress(f"draining {node}") as say:
        client.until_drained(node, timeout, say)
    options.show({"node": node, "state": "drained"}, output, lambda _: f"{node} is drained")
