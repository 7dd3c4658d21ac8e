"""The state of a home's engine: the file ``engine.json``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from anabranch.client.connection.trust import PinnedContext, Verify, trust
from anabranch.environment import Environment
from anabranch.errors import EngineError
from anabranch.files import replace_file

FILE = "engine.json"
RAY_TOKEN_FILE = "ray-token"
"""File in a home with the Ray token, for which Ray's servers and its dashboard ask."""

BLOCK_SIZE = 1_000
"""Ports of an engine's block, which starts at a multiple of this."""


@dataclass(frozen=True)
class EngineInfo:
    """Addresses of an engine: URLs, a ``host:port`` for gRPC, and its home.

    ``dashboard_token`` is the path of the file with the Ray token, for which Ray's dashboard asks;
    empty where that is not the engine's.
    """

    http: str
    grpc: str
    console: str
    dashboard: str
    dashboard_token: str
    home: str


@dataclass(frozen=True)
class EngineState:
    """An engine that was started. ``pid`` is its supervisor, None until that is started.

    ``runtime`` is its private folder; ``ready`` tells whether it ever answered, and ``problem`` why
    the supervisor gave it up. ``trusted`` is the file of certificates by which clients on this
    machine know an engine that speaks TLS; empty for one that does not. ``joined`` tells that the
    machine is a part of an engine whose head is elsewhere, at ``http``. ``attached`` tells that
    somebody else has started the Ray at ``address`` that the engine is on.
    """

    id: str
    http: str
    grpc: str
    dashboard: str
    address: str
    runtime: str
    pid: int | None = None
    ready: bool = False
    problem: str = ""
    trusted: str = ""
    joined: bool = False
    attached: bool = False

    @property
    def verify(self) -> Verify:
        """What clients on this machine verify the engine's certificate by."""
        return PinnedContext(Path(self.trusted)) if self.trusted else trust(self.http, None)

    @property
    def block(self) -> range:
        """The block of ports that the engine has claimed, in which all of Ray's are."""
        port = urlsplit(f"//{self.address}").port or 0
        first = port - port % BLOCK_SIZE
        return range(first, first + BLOCK_SIZE)

    def sign_in(self, code: str) -> str:
        """Return the link by which a browser signs in to the console with a code, once."""
        return f"{self.http}/console/#code={code}"

    def info(self, home: Path) -> EngineInfo:
        """Return the addresses of the engine, for programs and people."""
        return EngineInfo(
            http=self.http,
            grpc=self.grpc,
            console=f"{self.http}/console",
            dashboard=self.dashboard,
            dashboard_token="" if self.attached else str(home / RAY_TOKEN_FILE),
            home=str(home),
        )


def resolve_home(home: str | Path | None = None) -> Path:
    """Return ``home``, else ``ANABRANCH_HOME``, else ``~/.anabranch``, as absolute path."""
    return Path(home).expanduser().absolute() if home else Environment(os.environ).home


def read_state(home: Path) -> EngineState | None:
    """Return the engine last started in ``home``; None without one, or with a damaged file."""
    try:
        return EngineState(**json.loads((home / FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def write_state(home: Path, state: EngineState) -> None:
    """Replace the file in one step, so that no reader sees half of it; StorageError if it cannot
    be written.
    """
    replace_file(home / FILE, json.dumps(asdict(state), indent=2) + "\n")


def clear_state(home: Path) -> None:
    """Remove the state of the engine of ``home``."""
    (home / FILE).unlink(missing_ok=True)


def require_state(home: Path) -> EngineState:
    """Return the engine of ``home``; raise EngineError if none was started there."""
    state = read_state(home)
    if state is None or not state.ready:
        raise EngineError(f"no engine is running in {home}: start one with `anabranch up`")
    return state


def read_token(home: Path) -> str:
    """Return the control token of a home's engine; raise EngineError if it cannot be read."""
    try:
        return (home / "token").read_text().strip()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise EngineError(f"cannot read the engine's token in {home}: {reason}") from error
