"""The command line: all commands. A command imports its modules only when it runs."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli import remote
from anabranch.cli.commands import (
    backup,
    bandit,
    engine,
    events,
    explain,
    graph,
    importing,
    monitors,
    replay,
    request,
    revision,
    spec,
    traffic,
)
from anabranch.cli.commands.access import dashboard, keys, login, rules
from anabranch.cli.commands.cluster import join, nodes
from anabranch.cli.commands.exports import dashboards, features, kuberay
from anabranch.cli.commands.jobs import batch, on_engine
from anabranch.cli.commands.portable import bundles
from anabranch.cli.commands.shared import models
from anabranch.cli.commands.standalone import containerize, serve

app = typer.Typer(
    name="anabranch",
    help="Inference graphs in YAML, served by Ray Serve.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    engine,
    join,
    nodes,
    backup,
    graph,
    traffic,
    revision,
    events,
    bandit,
    monitors,
    models,
    request,
    replay,
    batch,
    on_engine,
    features,
    explain,
    spec,
    bundles,
    serve,
    containerize,
    importing,
    dashboard,
    dashboards,
    kuberay,
    keys,
    rules,
    login,
):
    module.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anabranch {version('anabranch')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            envvar=remote.URL,
            help="URL of an engine on another machine, such as https://engine:8000.",
            show_default=False,
        ),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            help="File with a key for it, closed to others."
            " [default: ANABRANCH_TOKEN, or that of `login`]",
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            envvar=remote.CA,
            help="Authorities that its certificate may be of, in PEM. [default: public ones]",
            show_default=False,
        ),
    ] = None,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Inference graphs in YAML, served by Ray Serve."""
    ctx.with_resource(remote.chosen(url, token_file, ca))
