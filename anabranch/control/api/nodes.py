"""Endpoints of the machines of an engine: what is on each, how one joins, and how one goes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from anabranch.client.connection.engine_state import RAY_TOKEN_FILE
from anabranch.control.access.authority import cluster_certificates
from anabranch.control.api.endpoints import (
    ApiAnswer,
    ApiCall,
    Guarded,
    Routes,
    answer,
    operates,
    read_body,
    views,
)
from anabranch.control.nodes.cluster import RayCluster
from anabranch.control.nodes.node import ClusterLook, Node
from anabranch.control.nodes.shared import LOOPBACK, shared_values
from anabranch.control.nodes.ticket import DRAINED, Ticket, require_same
from anabranch.control.nodes.turns import JoinTurns
from anabranch.control.nodes.views import node_view, nodes_view
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.errors import Conflict
from anabranch.serve.attachment import HOME_NODE
from anabranch.serve.workers.environment import MARK
from anabranch.specs.models import Model

Apps = Mapping[str, Any]
"""Serve's details of its applications, by name."""
_Text = Annotated[str, Field(min_length=1, max_length=128)]


class _Joining(Model):
    """``machine`` is the id of what is started there, ``versions`` as ``ticket.versions`` says.

    ``again`` tells that it may have replicas of an earlier start of the engine.
    """

    name: _Text
    address: _Text
    machine: _Text
    versions: Annotated[dict[str, _Text], Field(max_length=8)]
    again: bool = False


class NodeApi:
    """Answers about machines.

    | method | path | answers |
    |---|---|---|
    | GET | ``/nodes`` | ``{"nodes", "pending", "waiting"}``, see ``nodes_view`` |
    | POST | ``/nodes`` | 201, a ticket, for ``{"name", "address", "machine", "versions"}`` |
    | POST | ``/nodes/<node>/drain`` | 202, the machine; it goes once its replicas have moved |

    ``<node>`` is a name, an address or an id. A ticket holds the secrets of the engine, so that a
    machine with it can do all that the engine can. One that asks with ``"again": true`` and is not
    known gets 503 until it is its turn, see ``JoinTurns``.
    """

    def __init__(
        self,
        settings: Settings,
        log: Store,
        cluster: RayCluster,
        applications: Callable[[], Apps],
        turns: JoinTurns,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self._home = settings.home
        self._log = log
        self._cluster = cluster
        self._applications = applications
        self._turns = turns
        self._env = env
        self.routes: Routes = {
            "/nodes": {**views(self._list), "POST": Guarded("administer", self._join)},
            "/nodes/(?P<node>[^/]{1,128})/drain": operates(self._drain),
        }

    async def _list(self, call: ApiCall) -> ApiAnswer:
        look = await asyncio.to_thread(self._cluster.look)
        return answer(200, nodes_view(look, self._applications()))

    async def _join(self, call: ApiCall) -> ApiAnswer:
        asked = read_body(call.body, _Joining)
        if self._env.get(HOME_NODE):
            raise Conflict(
                "the engine is on a Ray that it has not started: a machine that joins that Ray,"
                " by `ray start --address HOST:PORT`, is the engine's, too"
            )
        if self._env.get(LOOPBACK) == "1":
            raise Conflict(
                "no machine can join an engine on loopback: start it with `anabranch up --host"
                " ADDRESS`, by an address of its machine that the others reach"
            )
        require_same(asked.versions)
        look = await asyncio.to_thread(self._cluster.look)
        self._require_new(asked, look)
        if asked.again and all(one.machine != asked.machine for one in look.nodes):
            self._turns.take(asked.machine, asked.name, look)
        return answer(201, await asyncio.to_thread(self._ticket, asked))

    def _ticket(self, asked: _Joining) -> dict[str, Any]:
        message = f"machine {asked.name!r} ({asked.address}) was let join"
        data = {"name": asked.name, "address": asked.address, "machine": asked.machine}
        self._log.log("", None, "node_joining", message, data)
        ticket = Ticket(
            engine=self._env.get(MARK, ""),
            gcs=self._cluster.address(),
            ray_token=(self._home / RAY_TOKEN_FILE).read_text().strip(),
            environment=shared_values(self._env),
            files={name: pem.decode() for name, pem in cluster_certificates(self._home).items()},
        )
        return vars(ticket)

    def _require_new(self, asked: _Joining, look: ClusterLook) -> None:
        """Raise Conflict for the address of another machine, and for one that was drained."""
        for one in look.nodes:
            if one.machine == asked.machine:
                if one.state == "drained":
                    raise Conflict(f"the machine {one.name!r} {DRAINED}")
            elif one.is_here and one.address == asked.address:
                raise Conflict(
                    f"{asked.address} is a machine of this engine already, {one.name!r}: it has"
                    f" joined from another home, or is not given up yet; `anabranch nodes` tells"
                )

    async def _drain(self, call: ApiCall) -> ApiAnswer:
        return answer(202, await asyncio.to_thread(self._drained, call.node))

    def _drained(self, named: str) -> dict[str, Any]:
        node = self._cluster.look().of(named)
        if node.is_head:
            raise Conflict(
                f"{node.name!r} is the engine's head machine, which cannot be drained:"
                " `anabranch down` stops the engine"
            )
        if self._env.get(HOME_NODE):
            raise Conflict(
                f"{node.name!r} is a machine of a Ray that the engine has not started: drain it by"
                " Ray's means, such as `ray drain-node`"
            )
        if node.state != "draining":
            self._begin(node)
            node = self._cluster.look().of(node.id)
        return node_view(node, self._applications())

    def _begin(self, node: Node) -> None:
        message = f"machine {node.name!r} ({node.address}) is drained"
        self._cluster.drain(node.id, message)
        data = {"name": node.name, "address": node.address, "node": node.id}
        self._log.log("", None, "node_draining", message, data)
