"""``dashboards``: what Grafana and Prometheus show and watch of an engine, as files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli.terminal import result
from anabranch.errors import EngineError


class Export(StrEnum):
    """Whose metrics the files are written for."""

    GATEWAY = "gateway"
    RAY = "ray"


def register(app: typer.Typer) -> None:
    """Add the group of commands to ``app``."""
    group = typer.Typer(
        name="dashboards",
        help="Grafana dashboards and Prometheus rules.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command()(export)
    app.add_typer(group)


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write; made if it is not there.")
    ],
    source: Annotated[
        Export,
        typer.Option(help="Whose metrics: the gateway's at /metrics, or those of Ray's agents."),
    ] = Export.GATEWAY,
) -> None:
    """Write the Grafana dashboards and the Prometheus rules, over those of an older version."""
    from anabranch.telemetry.dashboards.files import files

    for name, text in files("ray" if source is Export.RAY else "gateway").items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise EngineError(f"{path} cannot be written: {error.strerror}") from None
        result(str(path))
