"""The private folder of an engine's processes: their sockets, Ray's session, and temporary files.

It is made at ``up`` and removed at ``down``, with all that killed processes have left in it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from anabranch.control.engine.flags import LONGEST_FOLDER
from anabranch.files import disk_errors
from anabranch.serve.sockets import SOCKETS

PREFIX = "anab-"
TEMPORARY, RAY = "t", "ray"
"""Folders in it, beside that of the sockets."""
_PRIVATE = 0o700


def make_runtime() -> Path:
    """Make the folder; StorageError where the system's temporary folder does not take it.

    Its path is short enough for the sockets in it. Where that of the system's temporary folder is
    not, temporary files lie there all the same: whoever sets TMPDIR chooses their disk.
    """
    base = Path(tempfile.gettempdir())
    fits = len(f"{base}/{PREFIX}12345678".encode()) <= LONGEST_FOLDER
    with disk_errors(base / PREFIX):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base if fits else "/tmp"))
        (folder / SOCKETS).mkdir(mode=_PRIVATE)
        if fits:
            (folder / TEMPORARY).mkdir(mode=_PRIVATE)
        else:
            (folder / TEMPORARY).symlink_to(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    return folder


def remove_runtime(folder: Path) -> None:
    """Remove a folder that ``make_runtime`` has made, as far as that can be done."""
    if folder.name.startswith(PREFIX):
        shutil.rmtree((folder / TEMPORARY).resolve(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
