"""A job that ends at its n-th work on a file, as by ``kill -9``: folder and n are the arguments."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from anabranch.client.batch.manifest import BatchJob
from tests.client.batch.graphs import Doubling, run

_WORK = ("open", "os.rename", "os.remove", "os.rmdir")


def main() -> None:
    folder, left = Path(sys.argv[1]), int(sys.argv[2])

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if event in _WORK and "answers" in str(args[0]):
            left -= 1
            if left == 0:
                os._exit(9)

    sys.addaudithook(hook)
    job = BatchJob("doubling", str(folder / "rows.csv"), str(folder / "answers.csv"), chunk=4)
    run(job, Doubling())


if __name__ == "__main__":
    main()
