"""Compiles Python sources for an image: run as a program of its own, with nothing but Python.

Reads a list of jobs as JSON, ``[[source, path in the image, target], …]``, and writes to each
target what ``__pycache__`` holds. It is not compared with the source when it is imported (PEP 552,
unchecked hashes), since sources in an image have no times. What is compiled alone and in one order
is the same each time.
"""

from __future__ import annotations

import json
import marshal
import sys
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

_UNCHECKED = (0b01).to_bytes(4, "little")


def compiled(source: bytes, path: str) -> bytes:
    """Return the file for ``__pycache__``; SyntaxError or ValueError where it is no Python."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    return MAGIC_NUMBER + _UNCHECKED + source_hash(source) + marshal.dumps(code)


def main() -> None:
    """Do the jobs on stdin; what does not compile is left out, as templates of code are."""
    for source, path, target in json.load(sys.stdin):
        try:
            found = compiled(Path(source).read_bytes(), path)
        except (SyntaxError, ValueError, RecursionError):
            continue
        Path(target).write_bytes(found)


if __name__ == "__main__":
    main()
