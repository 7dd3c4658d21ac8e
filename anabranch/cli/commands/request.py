"""``infer`` sends one request to a graph, ``feedback`` a reward for its answer."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.completion import revisions
from anabranch.cli.input import shares
from anabranch.errors import AnabranchError


def infer(
    graph: options.GraphName,
    data: options.Data = None,
    inputs: options.Inputs = None,
    headers: options.Headers = None,
    parameters: options.Parameters = None,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision",
            metavar="REVISION",
            help="Revision that answers, such as r3; the graph's traffic decides if left out.",
            autocompletion=revisions,
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="EXPLAINER|true",
            help="Ask for an explanation beside the prediction; `true` for the only explainer.",
        ),
    ] = None,
    later: Annotated[
        bool,
        typer.Option(
            "--async",
            help="Have the engine keep the request and answer it when there is time; print where"
            " the reply will be.",
        ),
    ] = False,
    repeat: Annotated[
        int,
        typer.Option(
            "--repeat",
            min=1,
            max=100_000,
            help="Send the request as often, one after the other, and print who answered.",
        ),
    ] = 1,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Send one request to a graph and print its reply.

    Datatypes and shapes come from the graph, unless --data is a whole request. Exits with 1 if a
    request of --repeat fails.
    """
    from anabranch.cli.input import tensors
    from anabranch.cli.reports.reply import accepted_text, repeated_text, reply_text
    from anabranch.client.control import RESPOND_ASYNC
    from anabranch.client.repeat import repeated

    given = tensors.read(data, inputs)
    wanted = tensors.parameters(parameters or [], "--parameter")
    if explain is not None:
        wanted["explain"] = explain == "true" or explain
    number = None if revision is None else shares.revision(revision)
    sent = {**tensors.split_pairs(headers or [], "--header"), **(RESPOND_ASYNC if later else {})}
    with options.client(home) as client:
        body = tensors.body(given, lambda: client.metadata(graph, number))
        body = tensors.with_parameters(body, wanted)
        if repeat == 1:
            try:
                shown = reply_text if not later else accepted_text
                options.show(client.infer(graph, body, number, sent), output, shown)
            except AnabranchError as error:
                if error.__class__ is not AnabranchError:
                    raise
                # The fault is the graph's.
                hint = f"`anabranch logs {graph}` shows how it came to this"
                raise AnabranchError(f"{error}\n{hint}") from None
            return
        found = repeated(lambda: client.infer(graph, body, number, sent), repeat)
    options.show(found, output, repeated_text)
    if found["failed"]:
        raise typer.Exit(1)


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
