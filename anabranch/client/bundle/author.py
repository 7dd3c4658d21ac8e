"""The author of a revision, where the command line does not name one."""

from __future__ import annotations

import getpass
import subprocess
from contextlib import suppress
from pathlib import Path

_PATIENCE_S = 10.0


def author_of(folder: Path) -> str:
    """Return ``user.name`` of git's settings for ``folder``, else the user of this process.

    Return empty text where neither is known.
    """
    if name := git(folder, "config", "user.name"):
        return name
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return ""


def git(folder: Path, *words: str) -> str:
    """Return what git tells of ``folder``; empty text where it cannot."""
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, timeout=_PATIENCE_S, check=True,
            encoding="utf-8", errors="replace",
        ).stdout.strip()  # fmt: skip
    return ""
