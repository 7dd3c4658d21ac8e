"""What a task of Ray sees on a machine; it is sent by value, for anabranch may not be there."""

import importlib.metadata
import os
import sys


def look(home: str) -> "tuple[str, str, int, bool]":
    """Return the version of anabranch, the interpreter, the user, and whether the home is there."""
    try:
        found = importlib.metadata.version("anabranch")
    except importlib.metadata.PackageNotFoundError:
        found = ""
    return found, sys.executable, os.getuid(), os.path.isdir(home)  # noqa: PTH112
