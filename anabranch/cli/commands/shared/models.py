"""``models``: the shared models of an engine."""

from __future__ import annotations

from anabranch.cli import options


def models(
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """List the shared models with their replicas, memory, users and load."""
    from anabranch.cli.reports.models import models_text

    with options.client(home) as client:
        found = client.models()
    options.show({"models": found}, output, lambda shown: models_text(shown["models"]))
