"""anabranch itself, started and stopped as a user does it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from script import arguments, free_port, sleep_until_stopped, stoppable

GRAPH = "five"
SECOND: dict[str | None, list[tuple[str, ...]]] = {
    None: [],
    # All but never a draw goes the one way or the other; there is a draw for each request.
    "inlined": [("deploy", "--canary", "0"), ("traffic", "r1=999999", "r2=1")],
    "remote": [("deploy", "--canary", "0"), ("traffic", "r1=1", "r2=999999")],
    "even": [("deploy", "--canary", "50")],
    "mirror": [("deploy", "--mirror", "100")],
}
"""What is done with a second, equal revision, by the name of the arrangement."""


def anabranch(*command: object) -> None:
    """Run the command line; CalledProcessError if it does not exit 0."""
    program = Path(sys.executable).with_name("anabranch")
    subprocess.run([str(part) for part in (program, *command)], check=True)


def main() -> None:
    told = arguments()
    os.environ["ANABRANCH_HOME"] = str(told.folder / "home")
    others = ("--grpc-port", free_port(), "--dashboard-port", free_port())
    with stoppable():
        try:
            anabranch("up", "--http-port", told.port, *others)
            anabranch("deploy", told.spec)
            for command, *options in SECOND[told.traffic]:
                anabranch(command, told.spec if command == "deploy" else GRAPH, *options)
            sleep_until_stopped()
        finally:
            anabranch("down")


if __name__ == "__main__":
    main()
