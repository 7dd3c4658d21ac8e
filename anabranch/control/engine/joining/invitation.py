"""An engine as a machine that joins it knows it, and what it keeps of a ticket."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from anabranch.client.client import ControlClient
from anabranch.client.connection.engine_state import RAY_TOKEN_FILE, EngineState, read_token
from anabranch.client.http import Json
from anabranch.control.access.authority import remove_certificates, write_certificates
from anabranch.control.nodes.ticket import Ticket, versions
from anabranch.errors import EngineError
from anabranch.files import replace_file
from anabranch.serve.sockets import tcp_connection

TOKEN_FILE = "token"
"""File in the home with the key by which the machine joins its engine."""
MACHINES_FILE = "machines"
"""File in the home with the URLs of the engine's other machines, see ``search``."""
_TIMEOUT_S = 20.0
_CONNECT_S = 5.0


def url_of(engine: str) -> str:
    """The URL of an engine that was given as ``host:port`` or as URL; EngineError for neither."""
    url = engine if "://" in engine else f"http://{engine}"
    with suppress(ValueError):
        found = urlsplit(url)
        more = found.path.strip("/") or found.query or found.username
        if found.scheme in ("http", "https") and found.hostname and found.port and not more:
            return url.rstrip("/")
    raise EngineError(
        f"{engine!r} is no address of an engine: give one such as 10.0.0.1:8000, or"
        " https://engine:8000"
    )


@dataclass(frozen=True)
class Invitation:
    """The engine at a URL, and a key of it, for what is started on this machine under an id."""

    url: str
    key: str
    machine: str

    @classmethod
    def of(cls, home: Path, state: EngineState) -> Invitation:
        """The one by which the machine of a home has joined."""
        return cls(state.http, read_token(home), state.id)

    def client(self, timeout: float = _TIMEOUT_S) -> ControlClient:
        """A client of the engine, which waits for each answer for so many seconds."""
        verify = EngineState("", self.url, "", "", "", "").verify
        return ControlClient(self.url, self.key, timeout=timeout, verify=verify)

    def ticket(self, address: str, again: bool = False) -> Ticket:
        """A ticket for this machine, which others reach at ``address``.

        ``again`` tells that it may have replicas of an earlier start of the engine, which go on
        until it has the ticket. Raises as requests do: EngineUnreachable, Unavailable where it is
        to ask later, Conflict where it cannot join.
        """
        with self.client() as control:
            name = socket.gethostname()
            return Ticket.from_json(control.join(name, address, self.machine, versions(), again))

    def nodes(self, timeout: float = _TIMEOUT_S) -> list[Json]:
        """Return the machines of the engine; raises as requests do."""
        with self.client(timeout) as control:
            found: list[Json] = control.nodes()["nodes"]
        return found

    def seen(self) -> Json | None:
        """Return this machine as the engine sees it, None if it does not; raises as requests do."""
        return self.among(self.nodes())

    def among(self, nodes: list[Json]) -> Json | None:
        """Return this machine among those of the engine; None if it is none, or a lost one."""
        own = [one for one in nodes if one["machine"] == self.machine and one["state"] != "lost"]
        return own[0] if own else None


def own_address(url: str) -> str:
    """The address of this machine towards the engine at a URL; EngineError where it cannot be
    reached, or is reached on loopback.
    """
    found = urlsplit(url)
    place = f"{found.hostname}:{found.port}"
    address = _towards(place, "the engine does not answer")
    if address.startswith("127.") or address == "::1":
        raise EngineError(
            f"{place} is on this machine's loopback: give the address at which other machines reach"
            " the engine"
        )
    return address


def require_reachable(gcs: str) -> None:
    """Raise EngineError if Ray's GCS cannot be reached from this machine."""
    _towards(gcs, "the engine answers, but its ports of Ray are closed to this machine")


def _towards(place: str, problem: str) -> str:
    try:
        with tcp_connection(place, _CONNECT_S) as line:
            return str(line.getsockname()[0])
    except OSError as error:
        raise EngineError(f"cannot reach {place}: {problem} ({error.strerror or error})") from None


def keep(home: Path, key: str, ticket: Ticket) -> None:
    """Keep the key and the secrets of a ticket in a home, for its owner alone."""
    replace_file(home / TOKEN_FILE, key + "\n")
    replace_file(home / RAY_TOKEN_FILE, ticket.ray_token + "\n")
    write_certificates(home, {name: text.encode() for name, text in ticket.files.items()})


def forget(home: Path) -> None:
    """Remove what is kept of an engine."""
    for name in (TOKEN_FILE, RAY_TOKEN_FILE, MACHINES_FILE):
        (home / name).unlink(missing_ok=True)
    remove_certificates(home)


def joined(state: EngineState, ticket: Ticket) -> EngineState:
    """The state of a machine with what a ticket says."""
    port = ticket.environment.get("ANABRANCH_GRPC_PORT", "")
    grpc = f"{urlsplit(state.http).hostname}:{port}"
    return replace(state, address=ticket.gcs, grpc=grpc)
