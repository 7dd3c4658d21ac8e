"""anabranch itself, started and stopped as a user does it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from script import ARRANGED, arguments, free_port, sleep_until_stopped, stoppable

GRAPH = "five"
AGAIN = ("deploy", "graph.yaml", "--force")
SECOND: dict[str | None, list[tuple[str, ...]]] = {
    None: [],
    # All but never a draw goes the one way or the other; there is a draw for each request.
    "inlined": [(*AGAIN, "--canary", "0"), ("traffic", GRAPH, "r1=999999", "r2=1")],
    "remote": [(*AGAIN, "--canary", "0"), ("traffic", GRAPH, "r1=1", "r2=999999")],
    "sticky": [("deploy", "sticky.yaml", "--canary", "50")],
    "mirror": [(*AGAIN, "--mirror", "100")],
    "slow": [("deploy", "slow.yaml", "--mirror", "100")],
    "hung": [("deploy", "hung.yaml", "--mirror", "100")],
    "huge": [("deploy", "huge.yaml", "--mirror", "100")],
    "crashing": [("deploy", "crashing.yaml", "--mirror", "100")],
    "own-port": [],
}
"""What is done with a second revision, by the name of the arrangement; its spec lies beside the
first one's. The user in ``wrk.lua`` belongs to revision 1."""


def anabranch(*command: object) -> None:
    """Run the command line; CalledProcessError if it does not exit 0."""
    program = Path(sys.executable).with_name("anabranch")
    subprocess.run([str(part) for part in (program, *command)], check=True)


def with_port(spec: Path, port: int, folder: Path) -> Path:
    """Write the graph again into ``folder``, with a port of its own; return its path."""
    root = folder / "own-port"
    shutil.copytree(spec.parent, root, ignore=shutil.ignore_patterns("__pycache__"))
    copy = root / spec.name
    copy.write_text(spec.read_text() + f"  serving: {{port: {port}}}\n")
    return copy


def main() -> None:
    told = arguments()
    assert told.spec is not None
    os.environ["ANABRANCH_HOME"] = str(told.folder / "home")
    edge, spec = told.port, told.spec
    if told.traffic == "own-port":
        edge, spec = free_port(), with_port(told.spec, told.port, told.folder)
    others = ("--grpc-port", free_port(), "--dashboard-port", free_port())
    with stoppable():
        try:
            anabranch("up", "--http-port", edge, *others)
            anabranch("deploy", spec)
            os.chdir(told.spec.parent)
            for command in SECOND[told.traffic]:
                anabranch(*command)
            (told.folder / ARRANGED).touch()
            sleep_until_stopped()
        finally:
            anabranch("down")


if __name__ == "__main__":
    main()
