"""``backup`` and ``restore``: the store of an engine and the bundles of its graphs, in one file."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anabranch.cli import options
from anabranch.cli.remote import own_home
from anabranch.cli.terminal import counted, progress, warn

if TYPE_CHECKING:
    from anabranch.control.release.backup_file import Backup


def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="The backup. [default: anabranch-<time>.zip in this folder]",
            dir_okay=False,
        ),
    ] = None,
    home: options.Home = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the file if it is there.")
    ] = False,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Copy the store and the bundles of its graphs into a file, also while the engine runs."""
    folder = own_home(home)
    from anabranch.control.engine import backup as backups

    target = file or Path(f"anabranch-{datetime.now(UTC):%Y%m%d-%H%M%S}.zip")
    with progress("copying the store and its bundles"):
        made = backups.backup(folder, target, replace=replace)
    _show(made, f"{made.file} holds", output)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `backup` has made.")],
    home: options.Home = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace a store that has graphs; a file stays as store.db.replaced.",
        ),
    ] = False,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Bring back a backup into the home of a stopped engine; `up` then starts its graphs."""
    folder = own_home(home)
    from anabranch.control.engine import backup as backups

    with progress("bringing back the store and its bundles"):
        made = backups.restore(folder, file, replace=replace, warn=warn)
    _show(made, f"{folder} holds, as of {made.created},", output)


def _show(made: Backup, holds: str, output: options.Format) -> None:
    if made.missing:
        warn(
            f"without {counted(len(made.missing), 'bundle')}, whose revisions cannot be started:"
            f" {', '.join(one[:12] for one in made.missing)}"
        )
    options.show(asdict(made), output, lambda _: f"{holds} {_counts(made)}")


def _counts(made: Backup) -> str:
    named = f" ({', '.join(made.graphs)})" if made.graphs else ""
    counts = (counted(made.revisions, "revision"), counted(made.bundles, "bundle"))
    return f"{counted(len(made.graphs), 'graph')}{named}, {', '.join(counts)}"
