"""anabranch with the graph of one node, over HTTP and gRPC."""

from __future__ import annotations

import os
from pathlib import Path

from anabranch_graph import anabranch
from negate_ports import noted
from script import arguments, free_port, sleep_until_stopped, stoppable

GRAPH = Path(__file__).with_name("negate") / "graph.yaml"


def main() -> None:
    told = arguments()
    os.environ["ANABRANCH_HOME"] = str(told.folder / "home")
    others = ("--grpc-port", noted(told.folder, free_port()), "--dashboard-port", free_port())
    with stoppable():
        try:
            anabranch("up", "--http-port", told.port, *others)
            anabranch("deploy", GRAPH)
            sleep_until_stopped()
        finally:
            anabranch("down")


if __name__ == "__main__":
    main()
