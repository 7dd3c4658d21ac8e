"""What a machine gets of an engine when it joins: a ticket, which holds the engine's secrets."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Self

from anabranch.errors import Conflict, EngineError

DRAINED = "was drained: `anabranch join` there lets it come back"
"""What is said of a machine that nobody wants back; both ends are of one version."""


@dataclass(frozen=True)
class Ticket:
    """An engine as its machines know it.

    ``gcs`` is where other machines reach Ray's GCS (host:port), ``environment`` what all machines
    have alike, ``files`` the texts of the certificates between machines, with their key, by the
    names of their files.
    """

    engine: str
    gcs: str
    ray_token: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read what the control API answers; EngineError for what is no ticket."""
        try:
            return cls(**found)
        except TypeError:
            raise EngineError("the engine's answer is no ticket: is it another version?") from None


def versions() -> dict[str, str]:
    """The versions of this machine that all machines of an engine must have alike.

    Objects go between processes as pickles, which is why Python counts to its patch level, as Ray
    has it.
    """
    found = {name: version(name) for name in ("anabranch", "ray")}
    return {"python": platform.python_version(), **found}


def require_same(theirs: Mapping[str, str]) -> None:
    """Raise Conflict, which names all that differs from this machine's versions."""
    differ = [
        f"{name} {theirs.get(name, 'unknown')}, and the engine {name} {own}"
        for name, own in versions().items()
        if theirs.get(name) != own
    ]
    if differ:
        raise Conflict(f"the machine has {'; '.join(differ)}: install the engine's versions there")
