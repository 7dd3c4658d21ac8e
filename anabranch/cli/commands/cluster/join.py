"""``join`` and ``leave``: commands that make this machine a part of an engine, or take it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anabranch.cli import options
from anabranch.cli.remote import key_in, own_home
from anabranch.cli.terminal import note, progress, warn


def join(
    engine: Annotated[
        str,
        typer.Argument(
            metavar="ENGINE", help="Address of the engine, such as 10.0.0.1:8000, or its URL."
        ),
    ],
    token_file: Annotated[
        Path,
        typer.Option(
            "--token-file",
            help="File of the engine's token, or of a key with the role admin; closed to others.",
            exists=True,
            dir_okay=False,
        ),
    ],
    home: options.Home = None,
    labels: options.Labels = "",
    resources: options.Resources = "",
    object_store: options.ObjectStore = "512MiB",
    ingress: options.Ingress = True,
    output: options.Output = options.Format.TABLE,
    foreground: options.Foreground = False,
) -> None:
    """Make this machine a part of an engine that runs on another one, in the background.

    Needs the versions of Python, Ray and anabranch that the engine has. Commands of this home then
    go to that engine.
    """
    folder = own_home(home)
    from anabranch.control.engine.joining import join as joining
    from anabranch.control.nodes.options import MachineOptions

    machine = MachineOptions(labels, resources, object_store, ingress)
    wanted = joining.JoinOptions(engine, key_in(token_file), machine)
    with progress("joining the engine") as say:
        state = joining.join(folder, wanted, say=say, warn=warn)
    about = {"engine": state.http, "machine": state.id, "home": str(folder)}
    text = f"this machine is a part of the engine at {state.http}"
    options.show(about, output, lambda _: text)
    if foreground:
        note("Ctrl-C or SIGTERM moves what runs here to other machines, and leaves the engine")
        joining.stay(folder, say=note, warn=warn)


def leave(
    home: options.Home = None,
    timeout: options.Leaving = 600.0,
    now: Annotated[
        bool, typer.Option("--now", help="Stop what runs here at once, wherever it could go.")
    ] = False,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Take this machine out of its engine: its replicas move to other machines first."""
    folder = own_home(home)
    from anabranch.control.engine.joining import join as joining

    with progress("leaving the engine") as say:
        left = joining.leave(folder, timeout, at_once=now, say=say)
    was = "has left its engine" if left else "was in no engine"
    text = f"the machine of {folder} {was}"
    options.show({"left": left, "home": str(folder)}, output, lambda _: text)
