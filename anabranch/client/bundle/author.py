"""The author of a revision, where the command line does not name one."""

from __future__ import annotations

import getpass
import subprocess
from contextlib import suppress
from pathlib import Path

_PATIENCE_S = 5.0


def author_of(folder: Path) -> str:
    """Return ``user.name`` of git's settings for ``folder``, else the user of this process.

    Return empty text where neither is known.
    """
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["git", "config", "user.name"]
        told = subprocess.run(
            asked, cwd=folder, capture_output=True, timeout=_PATIENCE_S, check=True,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        if name := told.stdout.strip():
            return name
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return ""
