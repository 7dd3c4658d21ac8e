"""``infer`` sends one request to a graph, ``feedback`` a reward for its answer."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from anabranch.cli import options


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(infer)
    app.command()(feedback)


def infer(
    graph: options.GraphName,
    data: options.Data = None,
    inputs: options.Inputs = None,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Send one request to a graph and print its reply.

    Datatypes and shapes come from the graph, unless --data is a whole request.
    """
    from anabranch.cli.input import tensors
    from anabranch.cli.reports.graph import outputs_text

    given = tensors.read(data, inputs)
    with options.client(home) as client:
        answer = client.infer(graph, tensors.body(given, lambda: client.metadata(graph)))
    options.show(answer, output, outputs_text)


def feedback(
    graph: options.GraphName,
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The request's id, or the parameter `routing` of its reply."
        ),
    ],
    reward: Annotated[
        float | None,
        typer.Option("--reward", "-r", help="Reward for the answer; more is better."),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth",
            "-t",
            metavar="LABEL|JSON",
            help="The right label, or a list with one label for each row. Without --reward, the"
            " reward is the share of the answer's rows with the right label.",
        ),
    ] = None,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Send a reward or the truth for the answer to a request; one reward counts for a request."""
    from anabranch.cli.input import tensors

    if reward is None and truth is None:
        raise typer.BadParameter("give --reward, --truth or both")
    if reward is not None and not math.isfinite(reward):
        raise typer.BadParameter(f"--reward must be a finite number, got {reward}")
    body: dict[str, Any] = {"routing" if id.startswith("{") else "id": id}
    if reward is not None:
        body["reward"] = reward
    if truth is not None:
        body["truth"] = tensors.labels(truth)
    with options.client(home) as client:
        found = client.feedback(graph, body)
    options.show(found, output, _feedback_text)


def _feedback_text(found: dict[str, Any]) -> str:
    if found["counted"]:
        return f"reward {found['reward']:g} counted"
    return f"not counted: this request had its reward already, {found['reward']:g}"
