"""``monitors``: the findings of a graph's monitors."""

from __future__ import annotations

import typer

from anabranch.cli import options
from anabranch.cli.options import add


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add(app, monitors, "monitors shop")


def monitors(
    graph: options.GraphName,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show the findings of a graph's monitors: drift and outliers in its tensors."""
    from anabranch.cli.reports.monitors import monitors_text

    with options.client(home) as client:
        found = client.monitors(graph)
    options.show(found, output, monitors_text)
