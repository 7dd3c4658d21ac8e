"""``containerize``: an image that serves a graph in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli import options
from anabranch.cli.terminal import note, progress, result


def containerize(
    source: options.GraphSource,
    target: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER|FILE.tar", help="New folder or tar file to write."
        ),
    ],
    base: Annotated[
        Path | None,
        typer.Option(
            "--base",
            metavar="PATH",
            help="Base with Python: an OCI image layout or a root folder, as a folder or tar file."
            " [default: this machine's Python and the libraries that it needs]",
            exists=True,
            show_default=False,
        ),
    ] = None,
    tag: Annotated[
        str,
        typer.Option(
            "--tag",
            metavar="NAME:TAG",
            help="Name of the image. [default: GRAPH:VERSION]",
            show_default=False,
        ),
    ] = "",
    anonymous: Annotated[
        str,
        typer.Option(
            "--anonymous",
            metavar="ROLE,...",
            help="Roles of callers without a key, unless the container is told others.",
            show_default=False,
        ),
    ] = "",
    packages: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="PACKAGE",
            help="One more Python package of this environment. Repeatable.",
        ),
    ] = None,
    home: options.Home = None,
) -> None:
    """Write an OCI image that serves a graph in one process, without an engine, Ray or Docker.

    It holds the graph with its models, and of this environment Python and the packages that the
    graph uses. The same content gives the same digest.
    """
    from anabranch.client.connection.engine_state import resolve_home
    from anabranch.client.image.building import containerize as build

    with progress(f"building an image of {source}") as say:
        built = build(
            source, target, resolve_home(home), base=base, tag=tag, anonymous=anonymous,
            packages=packages or (), say=say,
        )  # fmt: skip
    result(f"{target}: {built.tag}, {built.size / 2**20:.0f} MiB, {built.digest}")
    if not anonymous:
        note("nobody may ask it without a key: give the container ANABRANCH_KEYS or "
             "ANABRANCH_ANONYMOUS=invoker, or build with --anonymous invoker")  # fmt: skip
