"""Has the Python sources of a layer compiled, so that containers start without doing that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path, PurePosixPath

from anabranch.client.image import compiling
from anabranch.client.image.layers import Content, Entries
from anabranch.errors import EngineError


def with_bytecode(entries: Entries, folder: Path) -> dict[str, Content]:
    """Return entries with what their sources compile to, which is written into ``folder``."""
    tag = sys.implementation.cache_tag
    jobs: list[tuple[str, str, str]] = []
    found: dict[str, Content] = dict(entries)
    places: dict[str, Path] = {}
    for path, content in sorted(entries.items()):
        pure = PurePosixPath(path)
        if pure.suffix == ".py" and isinstance(content, Path):
            target = folder / f"{len(jobs)}.pyc"
            jobs.append((str(content), f"/{path}", str(target)))
            places[str(pure.parent / "__pycache__" / f"{pure.stem}.{tag}.pyc")] = target
    _compile(jobs)
    found |= {path: target for path, target in places.items() if target.exists()}
    return found


def _compile(jobs: list[tuple[str, str, str]]) -> None:
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-W", "ignore", str(compiling.__file__)],
        input=json.dumps(jobs), capture_output=True, text=True, check=False,
        env={"PYTHONHASHSEED": "0"},  # sets are written in the order of their hashes
    )  # fmt: skip
    if done.returncode:
        raise EngineError(f"the sources cannot be compiled: {done.stderr.strip()[-500:]}")
