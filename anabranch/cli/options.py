"""Options and arguments that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from anabranch.cli.completion import graph_names


class Format(StrEnum):
    """What a command prints on stdout."""

    TABLE = "table"
    JSON = "json"


def duration(text: Any) -> float:
    """A duration such as 120s, in seconds; BadParameter for anything else."""
    from anabranch.specs.units import Duration

    if isinstance(text, float):
        return text
    try:
        return Duration.parse(text).seconds
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="ANABRANCH_HOME",
        help="Folder of the engine: store, token, bundles, logs. [default: ~/.anabranch]",
        show_default=False,
    ),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]
SpecFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The graph's spec.", exists=True, dir_okay=False)
]
GraphName = Annotated[
    str, typer.Argument(metavar="GRAPH", help="Name of the graph.", autocompletion=graph_names)
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        parser=duration,
        metavar="DURATION",
        help="Longest wait, such as 30s.",
        show_default="120s",
    ),
]
Author = Annotated[
    str,
    typer.Option("--author", envvar="USER", help="Who deploys; on record.", show_envvar=False),
]
Message = Annotated[str, typer.Option("--message", "-m", help="Why; on record.")]
HttpPort = Annotated[int, typer.Option("--http-port", min=1, max=65535, help="Port for HTTP.")]
GrpcPort = Annotated[int, typer.Option("--grpc-port", min=1, max=65535, help="Port for gRPC.")]
DashboardPort = Annotated[
    int, typer.Option("--dashboard-port", min=1, max=65535, help="Port of the Ray dashboard.")
]
Host = Annotated[
    str, typer.Option("--host", help="IPv4 address to listen on; 0.0.0.0 for every one.")
]
MaxBody = Annotated[str, typer.Option("--max-body", help="Largest request body.")]
ObjectStore = Annotated[str, typer.Option("--object-store", help="Size of Ray's object store.")]
