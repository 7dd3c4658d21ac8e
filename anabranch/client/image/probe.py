"""Loads a graph, has it answer a request, and writes which modules that has imported; a program.

``python -m anabranch.client.image.probe SPEC FILE`` writes the names of top-level modules to
``FILE`` as JSON, or ``{"error": …}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from anabranch.errors import AnabranchError
from anabranch.router.standalone.process import opened
from anabranch.router.standalone.revision import StandaloneRevision
from anabranch.router.warmup import warm_up
from anabranch.specs.models import Warmup


def main() -> None:
    """Do it for the arguments of the process."""
    spec, target = (Path(one).resolve() for one in sys.argv[1:])
    try:
        found: object = asyncio.run(_imported(spec))
    except AnabranchError as error:
        found = {"error": str(error)}
    target.write_text(json.dumps(found))


async def _imported(spec: Path) -> list[str]:
    loaded = opened(spec)
    os.chdir(loaded.root)
    revision = await StandaloneRevision.load(1, loaded)
    with suppress(AnabranchError):  # a request of zeros may be none that the graph takes
        await warm_up(revision.head, revision.plan, Warmup(requests=1), loaded.root)
    names = {name.partition(".")[0] for name in sys.modules}
    await revision.close()
    return sorted(names)


if __name__ == "__main__":
    main()
