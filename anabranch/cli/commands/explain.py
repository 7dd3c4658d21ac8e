"""``explain``: explanations of a graph's answer to a request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.terminal import note


def explain(
    graph: options.GraphName,
    data: options.Data = None,
    inputs: options.Inputs = None,
    explainer: Annotated[
        str | None,
        typer.Option(
            "--explainer", "-e", help="Name of the explainer; needed where the graph has several."
        ),
    ] = None,
    target: Annotated[
        int | None,
        typer.Option(
            "--target", min=0, help="Explained class, from 0; the predicted class if left out."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=2**32 - 1, help="Seed of the explanation's random draws."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the explanation: .png, .svg or .pdf."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write the explanation as a self-contained page."
        ),
    ] = None,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Explain a graph's answer to one request, row by row.

    Datatypes and shapes come from the graph, unless --data is a whole request.
    """
    from anabranch.cli.input import tensors
    from anabranch.cli.reports.explanation import explanations_text

    _check_files(plot, html)
    given = tensors.read(data, inputs)
    asked = {"explainer": explainer, "target": target, "seed": seed}
    wanted = {name: value for name, value in asked.items() if value is not None}
    with options.client(home) as client:
        body = tensors.body(given, lambda: client.metadata(graph))
        answer = client.explain(graph, tensors.with_parameters(body, wanted))
    if plot is not None:
        _plot(answer, plot)
    if html is not None:
        _write_page(answer, html)
    options.show(answer, output, explanations_text)


def _check_files(plot: Path | None, html: Path | None) -> None:
    """Raise BadParameter if a picture or page cannot be written, before the request is sent."""
    from anabranch.explainers.drawing import FORMATS

    if plot is not None and plot.suffix not in FORMATS:
        raise typer.BadParameter(f"--plot {plot} must end in one of {', '.join(FORMATS)}")
    for option, path in (("--plot", plot), ("--html", html)):
        if path is not None and not path.parent.is_dir():
            raise typer.BadParameter(f"{option} {path}: there is no folder {path.parent}")


def _plot(answer: dict[str, Any], path: Path) -> None:
    from anabranch.components.contract import CannotLoad
    from anabranch.explainers import drawing

    try:
        drawing.plot(answer, path)
    except (CannotLoad, OSError) as error:
        raise typer.BadParameter(f"--plot {path}: {error}") from None
    note(f"drawn: {path}")


def _write_page(answer: dict[str, Any], path: Path) -> None:
    from anabranch.explainers import drawing

    try:
        path.write_text(drawing.to_html(answer), "utf-8")
    except OSError as error:
        raise typer.BadParameter(f"--html {path}: {error}") from None
    note(f"written: {path}")
