"""What a client knows of its engine: address, token, home, and the inputs of its graphs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.client.connection.engine_state import resolve_home
from anabranch.client.connection.login import TOKEN, destination, key_for
from anabranch.client.connection.trust import Authorities, Verify, trust

if TYPE_CHECKING:
    from anabranch.specs.models import TensorSpec

    Types = Mapping[str, TensorSpec]


@dataclass(frozen=True)
class ModelTypes:
    """Types of a graph's inputs, and of its outputs as far as they are known."""

    inputs: Types
    outputs: Types


@dataclass(frozen=True)
class EngineSession:
    """An engine, and what was learned of it. ``token`` is a key, or None to show nothing.

    ``types`` holds the types of each graph and revision that was asked; a client forgets them when
    the engine refuses a request that was made by them.
    """

    url: str
    token: str | None
    home: Path
    verify: Verify = True
    """What its certificate is verified by, if it has one."""
    types: dict[tuple[str, int | None], ModelTypes] = field(default_factory=dict)


def connect(url: str | None, token: str | None, ca: Authorities | None = None) -> EngineSession:
    """Return a session of the engine at ``url``, or of the one that ``connection.login`` finds.

    The home is ``ANABRANCH_HOME``, else ``~/.anabranch``. Without a ``token`` the key is as
    ``connection.login`` says; for a ``url`` that is the home's login only where that names it.
    Raise EngineError if no engine is running there, or its token or ``ca`` cannot be read. Space
    around ``token`` is no part of it.
    """
    home = resolve_home()
    token = (token or "").strip() or None
    if url is not None:
        url = url.rstrip("/")
        return EngineSession(url, token or key_for(url, home), home, trust(url, ca))
    url, key, verify = destination(home, {**os.environ, TOKEN: token} if token else os.environ)
    return EngineSession(url, key, home, verify if ca is None else trust(url, ca))
