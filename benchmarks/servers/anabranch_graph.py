"""anabranch itself, started and stopped as a user does it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from script import arguments, free_port, sleep_until_stopped, stoppable


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
            sleep_until_stopped()
        finally:
            anabranch("down")


if __name__ == "__main__":
    main()
