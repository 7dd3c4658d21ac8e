"""Which backends and servers the edge needs, and the commands that lead there; pure.

Each graph has one of HAProxy's backends, its slot, and an entry in the map by which the frontend
finds the slot. Servers are named by their address. New servers take requests before an entry leads
to them, and old ones finish what they have before they go, so no request meets a gap. A slot whose
graph has gone is free once all its servers have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anabranch.errors import EngineError

GATEWAY = "_gateway"
"""Name under which the routes hold the servers of all requests that belong to no graph here."""
FRONT = "_front"
"""Name under which they hold the servers of all calls over gRPC that go to no graph here."""
GATEWAY_BACKEND, FRONT_BACKEND = "gateway", "front"
UNASKED_BACKEND = "nodes"
"""Backend whose server no route leads to, see ``tls/routers.py``."""
FOREVER_S = 24 * 86_400.0
"""Longest time that HAProxy can wait, in seconds."""
LATE_S = 1.0
"""Time that a router may answer later than it should, in seconds."""
RETRY = ":retry"
"""End of the entries of graphs whose POST requests may be sent again."""
_ONCE = ":once"
_SHARED = {GATEWAY: GATEWAY_BACKEND, FRONT: FRONT_BACKEND}
"""Backends that are no graph's, by the names under which routes hold their servers."""
_KEYWORDS = {FRONT_BACKEND: " proto h2"}
"""What is said of all servers of a backend; the others speak HTTP/1.1."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_ADDRESS = re.compile(r"unix@/[A-Za-z0-9._/@+~-]+|[A-Za-z0-9._:\[\]-]+:[0-9]+")


@dataclass(frozen=True)
class EdgeRoute:
    """The routers of one graph, as HAProxy addresses: ``unix@/path`` or ``host:port``.

    ``idempotent``: a POST may be sent again to another router after its connection broke.
    """

    addresses: tuple[str, ...]
    idempotent: bool
    longest: float = FOREVER_S
    """Seconds within which a router answers each request, if it answers at all."""


@dataclass(frozen=True)
class EdgeState:
    """What a running HAProxy holds.

    ``entries`` are the values of the map by graph, such as ``g7:3000:once``: the backend, the time
    for an answer in milliseconds, and whether a request may be sent again. ``servers`` says by
    backend and name of each server whether it takes new requests.
    """

    entries: Mapping[str, str]
    servers: Mapping[tuple[str, str], bool]


@dataclass(frozen=True)
class EdgePlan:
    """The way from the state that is there to the state that is wanted.

    ``commands`` for the runtime API, in order; ``entries`` and ``servers`` (addresses, with
    keywords) that then hold; ``leaving``: servers that took no new requests even before, and may be
    removed once idle; ``draining``: whether others take none from now on; ``unplaced``: graphs that
    found no slot.
    """

    commands: list[str]
    entries: Mapping[str, str]
    servers: Mapping[tuple[str, str], str]
    leaving: list[tuple[str, str]]
    draining: bool
    unplaced: tuple[str, ...]


def check_routes(routes: Mapping[str, EdgeRoute]) -> None:
    """Raise EngineError for a name or an address that a command of HAProxy could not hold."""
    for graph, route in routes.items():
        if graph not in _SHARED and not _NAME.fullmatch(graph):
            raise EngineError(f"the edge cannot route to a graph of the name {graph!r}")
        for address in route.addresses:
            if not _ADDRESS.fullmatch(address):
                raise EngineError(f"graph {graph!r}: HAProxy takes no address {address!r}")


def plan_routes(
    state: EdgeState, routes: Mapping[str, EdgeRoute], slots: int, map_name: str, far: str = ""
) -> EdgePlan:
    """Return how ``routes`` come into force; a graph without addresses is the gateway's.

    ``far``: keywords of the servers that are reached by TCP.
    """
    graphs = {graph for graph, route in routes.items() if route.addresses} - _SHARED.keys()
    placed = _place(state, graphs, slots)
    entries = {graph: placed[graph] + _ending(routes[graph]) for graph in sorted(placed)}
    backends = {**placed, **{name: one for name, one in _SHARED.items() if name in routes}}
    servers = {
        (backend, server_name(address)): address + _keywords(backend, address, far)
        for graph, backend in backends.items()
        for address in routes[graph].addresses
    }
    gone = [server for server in state.servers if server not in servers]
    busy = [server for server in gone if state.servers[server]]
    return EdgePlan(
        [
            *_open(state, servers),
            *_lead(state, entries, map_name),
            *(f"set server {backend}/{name} state drain" for backend, name in busy),
        ],
        entries,
        servers,
        [server for server in gone if not state.servers[server]],
        bool(busy),
        tuple(sorted(graphs - placed.keys())),
    )


def _keywords(backend: str, address: str, far: str) -> str:
    return _KEYWORDS.get(backend, "") + ("" if address.startswith("unix@") else far)


def server_name(address: str) -> str:
    """Return the name of the server with this address, the same for ever."""
    return "s" + hashlib.blake2b(address.encode(), digest_size=8).hexdigest()


def backend_of_slot(number: int) -> str:
    """Return the name of a slot's backend; slots count from 0."""
    return f"g{number}"


def backend_of_entry(entry: str) -> str:
    """Return the backend to which an entry of the map leads."""
    return entry.partition(":")[0]


def _ending(route: EdgeRoute) -> str:
    patience = min(route.longest + LATE_S, FOREVER_S)
    return f":{patience * 1000:.0f}{RETRY if route.idempotent else _ONCE}"


def _place(state: EdgeState, graphs: Iterable[str], slots: int) -> dict[str, str]:
    """Return the slots of the graphs: the one that a graph has, or else a free one."""
    graphs = sorted(graphs)
    kept = {one: backend_of_entry(state.entries[one]) for one in graphs if one in state.entries}
    taken = {backend_of_entry(entry) for entry in state.entries.values()}
    taken.update(backend for backend, _ in state.servers)
    free = (one for one in map(backend_of_slot, range(slots)) if one not in taken)
    new = zip((one for one in graphs if one not in kept), free, strict=False)
    return {**kept, **dict(new)}


def _open(state: EdgeState, servers: Mapping[tuple[str, str], str]) -> Iterable[str]:
    for (backend, name), address in servers.items():
        if (backend, name) not in state.servers:
            yield f"add server {backend}/{name} {address}"
        if not state.servers.get((backend, name)):
            yield f"set server {backend}/{name} state ready"


def _lead(state: EdgeState, entries: Mapping[str, str], map_name: str) -> Iterable[str]:
    for graph, entry in entries.items():
        if graph not in state.entries:
            yield f"add map {map_name} {graph} {entry}"
        elif state.entries[graph] != entry:
            yield f"set map {map_name} {graph} {entry}"
    for graph in state.entries.keys() - entries.keys():
        yield f"del map {map_name} {graph}"
