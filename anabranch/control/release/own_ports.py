"""Graphs' own ports at a deploy: no two graphs have the same, and none has one of the engine's.

Whether a program that is none of the engine's has a port shows only when the port is opened.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from anabranch.client.connection.engine_state import read_state
from anabranch.control.release.releases import Releases
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.errors import Conflict, InvalidRequest, SpecError


class OwnPorts:
    """Who has which port. Safe to use from several threads."""

    def __init__(self, settings: Settings, store: Store, releases: Releases) -> None:
        self._settings = settings
        self._store = store
        self._releases = releases
        self._deploying = threading.Lock()

    @contextmanager
    def claimed(self, graph: str, port: int | None) -> Iterator[None]:
        """Hold a port for a graph until its revision is in the store; None is no port.

        Raises InvalidRequest for a port of the engine, and for any where the engine speaks TLS;
        Conflict for one that a revision of another graph has which is up or on its way.
        """
        if port is None:
            yield
            return
        if self._settings.tls is not None:
            raise InvalidRequest(
                f"spec.serving.port: {port}: the engine speaks TLS, and graphs' own ports do not; "
                "leave the port out"
            )
        with self._deploying:
            self._check_engine(port)
            self._check_graphs(graph, port)
            yield

    def _check_engine(self, port: int) -> None:
        for owner, ports in self._engine_ports():
            if port in ports:
                raise InvalidRequest(
                    f"spec.serving.port: {port} is {owner} of the engine; choose another port"
                )

    def _engine_ports(self) -> Iterator[tuple[str, range]]:
        """Yield what the engine listens on: options of ``anabranch up``, and its block."""
        yield "the --http-port", _only(self._settings.http_port)
        yield "the --grpc-port", _only(self._settings.grpc_port)
        state = read_state(self._settings.home)
        if state is not None and not state.attached:
            yield "the --dashboard-port", _only(urlsplit(state.dashboard).port or 0)
            yield f"in the block of ports {state.block[0]} to {state.block[-1]}", state.block

    def _check_graphs(self, graph: str, port: int) -> None:
        for stored in self._store.situations():
            other = stored.situation
            for number in sorted(other.members) if other.graph != graph else ():
                if self._port(other.graph, number) == port:
                    raise Conflict(
                        f"spec.serving.port: {port} is the port of graph {other.graph!r} (revision "
                        f"{number}); choose another port"
                    )

    def _port(self, graph: str, number: int) -> int | None:
        with suppress(SpecError):  # of a version of the language that is read no more
            return self._releases.plan(self._store.revision(graph, number)).port
        return None


def _only(port: int) -> range:
    return range(port, port + 1)
