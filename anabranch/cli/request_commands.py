"""``infer``: one request to a graph."""

from __future__ import annotations

from typing import Annotated

import typer

from anabranch.cli import options
from anabranch.cli.console import result, result_json


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(infer)


def infer(
    graph: options.GraphName,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            metavar="JSON|@FILE|@-",
            help="Values by input, such as '{\"x\": [[1, 2]]}', or a whole request of the Open"
            " Inference Protocol; inline, @file, or @- for stdin.",
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="NAME=VALUE",
            help="One tensor: nested JSON lists, or @file.json or @file.npy. Repeatable.",
        ),
    ] = None,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Send one request to a graph and print its answer.

    Datatypes and shapes come from the graph, unless --data is a whole request.
    """
    from anabranch.cli import tensors
    from anabranch.cli.reports import outputs_text
    from anabranch.control.client import ControlClient
    from anabranch.control.engine_state import resolve_home

    if (data is None) == (not inputs):
        raise typer.BadParameter("give either --data or at least one --input")
    given = tensors.read_inputs(inputs or []) if data is None else tensors.read_data(data)
    with ControlClient.of_home(resolve_home(home)) as client:
        whole = data is not None and tensors.is_request(given)
        body = given if whole else tensors.request_for(client.metadata(graph), given)
        answer = client.infer(graph, body)
    if output is options.Format.JSON:
        result_json(answer)
    else:
        result(outputs_text(answer))
