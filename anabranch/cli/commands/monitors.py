"""``monitors``: the findings of a graph's monitors."""

from __future__ import annotations

from anabranch.cli import options


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
