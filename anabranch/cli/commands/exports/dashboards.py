"""``dashboards``: Grafana dashboards and Prometheus rules of an engine, as files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli.terminal import write


class Export(StrEnum):
    """The export of metrics that the files are written for."""

    GATEWAY = "gateway"
    RAY = "ray"


def export(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder of the files; it is made if it is missing."),
    ],
    source: Annotated[
        Export,
        typer.Option(help="Export of the metrics: the gateway's /metrics, or Ray's agents."),
    ] = Export.GATEWAY,
) -> None:
    """Write the Grafana dashboards and the Prometheus rules; older files are overwritten."""
    from anabranch.telemetry.dashboards import dashboard_files

    for name, text in dashboard_files("ray" if source is Export.RAY else "gateway").items():
        write(folder / name, text)
