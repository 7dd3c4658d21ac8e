"""Checks whether an engine can be on a Ray: ``python -m`` with this module.

Its arguments are an address, the home, and the engine's ports by their options, as JSON. It prints
what was found as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import grpc
import psutil
import ray
from ray import _raylet
from ray._common.usage import usage_lib
from ray._private import services
from ray.serve.context import _get_global_client
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from anabranch.control.engine.attaching import probe, versions
from anabranch.control.engine.attaching.commands import FoundRay
from anabranch.control.engine.attaching.versions import Machine
from anabranch.control.nodes.ticket import versions as own_versions
from anabranch.errors import AnabranchError, EngineError
from anabranch.serve.attached.entry import Places
from anabranch.serve.attachment import PREFIX
from anabranch.serve.calls.controller import ACTOR, NAMESPACE
from anabranch.serve.sockets import tcp_connection
from anabranch.serve.streams.messages import first_line

_CONNECT_S, _PROBE_S = 5.0, 60.0
_AUTO, _DISABLED = "auto", "Disabled"
_USES_TLS = "RAY_USE_TLS"
_ADDRESS = re.compile(r"(?:[-.A-Za-z0-9]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")
_RAYLET: Any = _raylet
_SERVICES: Any = services
_USAGE: Any = usage_lib


def main(arguments: Sequence[str]) -> None:
    """Examine the Ray at the address given; exit 1 with the reason if it does not fit."""
    address, home, ports = arguments
    try:
        print(json.dumps(asdict(examine(address, home, json.loads(ports)))))
    except AnabranchError as error:
        sys.exit(f"error: {error}")


def examine(address: str, home: str, ports: Mapping[str, int]) -> FoundRay:
    """Find a Ray and check all of it; EngineError for the first thing that does not fit."""
    gcs = resolved(address)
    require_answer(gcs)
    client = _client(gcs)
    nodes = _nodes(client)
    require_node_here(gcs, [one.node_manager_address for one in nodes])
    with suppress(KeyError):
        del os.environ["RAY_ADDRESS"]
    try:
        ray.init(gcs, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        reason = first_line(error)
        raise EngineError(f"this machine cannot use the Ray at {gcs}: {reason}") from None
    _require_no_engine(gcs, client)
    _require_serve(ports)
    machines = _look(nodes, home)
    versions.require_same_anabranch(machines.values(), own_versions()["anabranch"])
    node = ray.get_runtime_context().get_node_id()
    versions.require_own(machines[node], os.getuid(), home)
    python = machines[node].python
    url: Any = ray._private.worker.get_dashboard_url()  # type: ignore[no-untyped-call]
    warnings = versions.other_interpreters(machines.values(), python)
    return FoundRay(gcs, node, f"http://{url}" if url else "", python, warnings)


def resolved(address: str) -> str:
    """The address of a GCS as host:port, ``auto`` for the one that Ray's clients here find."""
    try:
        found = _SERVICES.canonicalize_bootstrap_address_or_die(address) if address == _AUTO else ""
    except (ConnectionError, ValueError, OSError) as error:
        raise EngineError(
            "no Ray was found on this machine: start one, as by `ray start --head`, or name it by"
            f" --address HOST:PORT ({first_line(error)})"
        ) from None
    found = str(found or address)
    if not _ADDRESS.fullmatch(found):
        raise EngineError(f"{found!r} is no address of Ray's GCS: give one such as 10.0.0.1:6379")
    return found


def require_answer(gcs: str) -> None:
    """Raise EngineError unless something at an address speaks gRPC, as a GCS does."""
    try:
        tcp_connection(gcs, _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EngineError(f"no Ray answers at {gcs}: {reason}") from None
    if os.environ.get(_USES_TLS, "0") == "0" and not _speaks_grpc(gcs):
        raise EngineError(
            f"what answers at {gcs} is no GCS of Ray, or one that asks for TLS: then"
            f" {_USES_TLS}=1 and the variables of Ray's certificates are needed here"
        )


def _speaks_grpc(gcs: str) -> bool:
    """Ray's own client would wait for a minute."""
    with grpc.insecure_channel(gcs) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=_CONNECT_S)
        except grpc.RpcError as error:
            code: Any = error.code()
            return code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return True


def require_node_here(gcs: str, nodes: Sequence[str]) -> None:
    """Raise EngineError unless one of the addresses of Ray's nodes is this machine's."""
    own = {one.address for every in psutil.net_if_addrs().values() for one in every}
    if not own.intersection(nodes):
        there = ", ".join(sorted(nodes)) or "none"
        raise EngineError(
            f"this machine is no node of the Ray at {gcs}, whose nodes are {there}: type"
            f" `anabranch up` on one of these, or `ray start --address {gcs}` here before"
        )


def _client(gcs: str) -> Any:
    """A client of a GCS that has the versions of this machine."""
    try:
        client = _RAYLET.GcsClient(address=gcs)
        metadata = _USAGE.get_cluster_metadata(client)
    except ray.exceptions.AuthenticationError as error:
        raise EngineError(
            f"the Ray at {gcs} asks for a token, which RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or"
            f" RAY_AUTH_TOKEN_PATH give: {first_line(error)}"
        ) from None
    except (ray.exceptions.RayError, RuntimeError, ValueError, AttributeError) as error:
        raise EngineError(f"what answers at {gcs} is no GCS of Ray: {first_line(error)}") from None
    versions.require_same_ray(metadata, own_versions())
    return client


def _nodes(client: Any) -> list[Any]:
    alive: Any = client.get_all_node_info(timeout=_PROBE_S).values()
    return [one for one in alive if one.state == 0]


def _require_no_engine(gcs: str, client: Any) -> None:
    for place in Places(client).all().values():
        raise EngineError(
            f"an engine is on the Ray at {gcs} already, that of {place.owner}: one Ray has one"
            " engine; `anabranch down` there removes it"
        )
    with suppress(ValueError):
        ray.get_actor(ACTOR, NAMESPACE)
        raise EngineError(
            f"the Ray at {gcs} is an engine's own, which `anabranch up` has started: machines join"
            " that by `anabranch join`"
        )


def _require_serve(ports: Mapping[str, int]) -> None:
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return
    details = client.get_serve_details()
    require_ports(details, ports)
    taken = sorted(name for name in details["applications"] if name.startswith(PREFIX))
    if taken:
        raise EngineError(
            f"Ray Serve has applications whose names begin with {PREFIX!r} as an engine's do:"
            f" {', '.join(taken)}; delete them, or give them other names"
        )


def require_ports(details: Mapping[str, Any], ports: Mapping[str, int]) -> None:
    """Raise EngineError if Serve listens on a port of the engine, by what Serve says of itself."""
    if details.get("proxy_location") == _DISABLED:
        return
    theirs = {
        (details.get(kind) or {}).get("port"): kind.partition("_")[0]
        for kind in ("http_options", "grpc_options")
    }
    for option, port in ports.items():
        if port in theirs:
            raise EngineError(
                f"Ray Serve there has port {port} for {theirs[port].upper()}: choose another one"
                f" with {option}"
            )


def _look(nodes: Sequence[Any], home: str) -> dict[str, Machine]:
    """Return what a task sees on each node, by the nodes' ids."""
    pickles: Any = ray.cloudpickle
    pickles.register_pickle_by_value(probe)
    task: Any = ray.remote(num_cpus=0, max_retries=0)(probe.look)
    found = {}
    for one in nodes:
        there = NodeAffinitySchedulingStrategy(one.node_id.hex(), soft=False)
        found[one.node_id.hex()] = task.options(scheduling_strategy=there).remote(home)
    return {one.node_id.hex(): _seen(one, found[one.node_id.hex()]) for one in nodes}


def _seen(node: Any, task: Any) -> Machine:
    name, address = node.node_name, node.node_manager_address
    try:
        return Machine(name, address, *ray.get(task, timeout=_PROBE_S))
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise EngineError(f"machine {name} ({address}) runs no task: {first_line(error)}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
