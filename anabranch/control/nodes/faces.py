"""What answers for no single graph on a machine, and how it is started: edge, gateway, front."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Any, Protocol

from anabranch.control.nodes.agent import start_agent
from anabranch.control.nodes.ingress import AGENT, named
from anabranch.control.nodes.node import Node, bound_to
from anabranch.control.settings.settings import Settings
from anabranch.router.limits import RequestLimits
from anabranch.serve import bound_actors
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.replicas.edge import EDGE_ACTOR, SecuredEdge, start_edge
from anabranch.serve.replicas.front import FRONT_APP, front_app
from anabranch.serve.replicas.gateway import GATEWAY_APP, gateway_app
from anabranch.serve.sockets import EDGE

_ALL = "0.0.0.0"


def applications(
    settings: Settings, node: Node, loopback: bool = False
) -> Mapping[str, Callable[[], Any]]:
    """Return how the Serve applications of a machine are made, by kind.

    ``loopback`` says that nothing outside the machine reaches the engine.
    """
    limits, at = RequestLimits.for_body(settings.max_body), _address(settings, node)
    # Where even callers on this machine need keys, so do those who read.
    reads = loopback and bool(settings.anonymous)
    http, grpc = (at.host, at.http), (at.host, at.grpc)
    bound = bound_to(node)
    return {
        GATEWAY_APP: partial(gateway_app, bound, limits, settings.max_bundle, reads, http),
        FRONT_APP: partial(front_app, bound, limits, grpc),
    }


def edge(settings: Settings, node: Node) -> Any:
    """Start the edge of a machine if it does not run, and return its handle at once.

    None where the engine has no HAProxy: the gateway and the front of each machine are in front.
    """
    if not os.environ.get(EDGE):
        return None
    tls = settings.tls
    secured = None
    if tls is not None:
        secured = SecuredEdge(tls if node.is_head else None, tls.client_ca is not None)
    name = named(EDGE_ACTOR, node)
    return start_edge(node.id, name, _address(settings, node), settings.connections, secured)


class Applications(Protocol):
    """Serve, as far as it is needed here; ``reconcile.serving`` is it."""

    def details(self) -> Mapping[str, Any]:
        """Return the applications that Serve has, by name."""

    def start_application(self, name: str, build: Callable[[], Any]) -> None:
        """Start an application; returns before it is healthy."""

    def delete(self, name: str) -> None:
        """Take an application down; returns before it is gone."""


class FaceRunner:
    """Starts and stops what belongs to machines other than the head's.

    ``known`` are Serve's applications as they were some seconds ago, by name.
    """

    def __init__(
        self, settings: Settings, serve: Applications, known: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._settings = settings
        self._serve = serve
        self._known = known

    def running(self) -> Set[str]:
        """Names of the engine's actors, and of the applications that are known.

        What has been started a few seconds ago may lack.
        """
        return {*bound_actors.actors(), *self._known()}

    def start(self, kind: str, node: Node) -> None:
        """Start an agent, an edge, a gateway or a front; returns before it is up."""
        if kind == AGENT:
            start_agent(node.id, named(kind, node), self._settings.logs)
        elif kind == EDGE_ACTOR:
            edge(self._settings, node)
        elif named(kind, node) not in self._serve.details():  # else it would get new replicas
            build = applications(self._settings, node)[kind]
            self._serve.start_application(named(kind, node), build)

    def stop(self, name: str) -> None:
        """Stop one of these."""
        if name.startswith((f"{AGENT}.", f"{EDGE_ACTOR}.")):
            bound_actors.stop(name, last="close")
        else:
            self._serve.delete(name)

    def has_closed(self, name: str) -> bool:
        """Have an edge accept nothing from now on; return whether it may stop."""
        return bool(bound_actors.ask(name, "drain"))


def _address(settings: Settings, node: Node) -> EdgeAddress:
    """Return where a machine answers: as ``up`` was told, at the ports that all have alike."""
    is_own = node.is_head or settings.http_host == _ALL
    host = settings.http_host if is_own else node.address
    return EdgeAddress(host, settings.http_port, settings.grpc_port)
