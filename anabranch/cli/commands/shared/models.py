"""``models``: the shared models of an engine."""

from __future__ import annotations

import typer

from anabranch.cli import options
from anabranch.cli.options import add


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add(app, models, "models")


def models(
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """List the shared models with their replicas, memory, users and load."""
    from anabranch.cli.reports.models import models_text

    with options.client(home) as client:
        found = client.models()
    options.show({"models": found}, output, lambda shown: models_text(shown["models"]))
