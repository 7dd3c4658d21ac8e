"""``export kuberay``: an engine and its graphs, as manifests for Kubernetes."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli import options
from anabranch.cli.terminal import note, warn, write


def kuberay(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Specs in YAML.", exists=True, dir_okay=False),
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder of the files; it is made if missing."
        ),
    ],
    image: Annotated[
        str, typer.Option("--image", help="Image of all pods. [default: anabranch:<version>]")
    ] = "",
    name: Annotated[
        str, typer.Option("--name", help="Name of the cluster, its service and its secret.")
    ] = "anabranch",
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", help="Namespace in Kubernetes; kubectl's if left out.",
            show_default=False,
        ),
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=0, max=1000,
            help="Pods without GPUs beside the head. [default: as many as the graphs need]",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        bool,
        typer.Option("--layer", help="Put the graphs' files into a layer of the image, too large"
        " or not for ConfigMaps."),
    ] = False,
    home: options.Home = None,
) -> None:  # fmt: skip
    """Write manifests for Kubernetes with KubeRay: an engine on several pods, with these graphs.

    Older files are overwritten. README.md among them has the commands that follow.
    """
    from anabranch.client.connection.engine_state import resolve_home
    from anabranch.client.prepared import prepare_file
    from anabranch.control.kubernetes.export import export
    from anabranch.control.kubernetes.folders import GraphFolder
    from anabranch.control.kubernetes.groups import worker_groups
    from anabranch.control.kubernetes.pods import Installation
    from anabranch.graph.compile.loading import open_graph

    folders = []
    for file in files:
        prepared = prepare_file(file, resolve_home(home))
        for warning in prepared.warnings:
            warn(warning)
        folders.append(GraphFolder.of(prepared, file.name))
    groups = worker_groups([open_graph(file).plan for file in files], workers)
    of = Installation(name, image or f"anabranch:{version('anabranch')}", namespace)
    for path, content in export(of, groups, folders, layer).items():
        write(folder / path, content)
    note(f"next: {folder / 'README.md'}")
