"""The runtime environment with which Ray starts the processes of an engine.

On a Ray of the engine's own they inherit all their variables from Ray. On one that somebody else
has started they get some as their runtime environment, by which ``serve/attached/entry.py`` finds
the others.
"""

from __future__ import annotations

import os
from typing import Any

from anabranch.serve.attachment import HOME_NODE, is_attached
from anabranch.serve.workers.launcher import FORK, HOOK, PYTHON

MARK = "ANABRANCH_ENGINE_ID"
"""Variable that every process of an engine on one machine inherits; its value is the id of what was
started there."""


def inherited() -> dict[str, str]:
    """Return the variables that processes of the engine do not inherit from Ray."""
    names = (MARK, HOME_NODE, HOOK, PYTHON) if is_attached() else ()
    return {name: os.environ[name] for name in names if name in os.environ}


def runtime_environment() -> dict[str, Any]:
    """Return the runtime environment of a process that needs nothing else."""
    return {"env_vars": {FORK: "1", **inherited()}}
