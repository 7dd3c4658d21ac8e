"""Whether the engine of this process is on a Ray that somebody else has started.

So it is after `anabranch up --address`. Then the head node of Ray need not be the machine of the
engine's home, and the names of the engine's Serve applications have a prefix there, so that they
are told from those of others.
"""

from __future__ import annotations

import os

HOME_NODE = "ANABRANCH_HOME_NODE"
"""Variable with the id of the Ray node that has the engine's home; unset on a Ray of the engine's
own, whose head node it is."""
PREFIX = "anabranch."
"""Beginning of the names of an engine's applications where there may be others."""


def home_node() -> str:
    """Return the id of the node with the engine's home; empty on a Ray of the engine's own."""
    return os.environ.get(HOME_NODE, "")


def is_attached() -> bool:
    """Return whether the engine of this process is on a Ray that somebody else has started."""
    return bool(home_node())


def serve_name(application: str) -> str:
    """Return the name that Serve has for an application of the engine."""
    return f"{PREFIX}{application}" if is_attached() else application


def own_name(serve_name: str) -> str | None:
    """Return the engine's name of an application of Serve's; None for one of somebody else."""
    if not is_attached():
        return serve_name
    return serve_name.removeprefix(PREFIX) if serve_name.startswith(PREFIX) else None
