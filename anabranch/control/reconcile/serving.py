"""Serve as the controller sees it: what applications there are, and how to start and stop them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray import serve
from ray.serve._private.client import ServeControllerClient
from ray.serve._private.common import ReplicaState
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus

from anabranch.control.lifecycle.decide import App, Status
from anabranch.control.nodes.cluster import RayCluster
from anabranch.control.nodes.node import ClusterLook, bound_to
from anabranch.control.nodes.shared import LOOPBACK
from anabranch.control.reconcile import room
from anabranch.control.reconcile.room import Need
from anabranch.control.reconcile.together import Together
from anabranch.control.release.release import REVISION_VARIABLE, Release
from anabranch.errors import AnabranchError, EngineError, Unavailable
from anabranch.graph.plan.plan import DEFAULT_TIMEOUT, HEAD, MONITORS, Plan, Segment
from anabranch.router.limits import RequestLimits
from anabranch.router.table import ROUTER, Part, app_name, parse_app, router_app
from anabranch.serve.attachment import is_attached, own_name, serve_name
from anabranch.serve.own_port import obtain, opened_port, own_host
from anabranch.serve.pools.entries import pool_app
from anabranch.serve.replicas.base import start_reason
from anabranch.serve.replicas.explainer import ExplainerReplica
from anabranch.serve.replicas.head import HeadReplica
from anabranch.serve.replicas.monitors import MonitorReplica
from anabranch.serve.replicas.pool import POOL, PoolReplica
from anabranch.serve.replicas.router import RouterReplica
from anabranch.serve.replicas.segment import SegmentReplica, actor_options
from anabranch.serve.scaling.scaling import fewest, is_autoscaled, scaling_options
from anabranch.serve.sockets import unix_folder
from anabranch.serve.workers.environment import runtime_environment

_MANY = 100_000
"""More requests than a replica ever has: the router's own gate is what bounds them."""
_HEALTH_PERIOD = 5.0
_POOL_HEALTH_PERIOD = 1.0
"""Seconds until Serve sees that a pool has died, which many graphs wait for."""
_DRAIN_EXTRA = 10.0
_PORT_S = 5.0
"""How long whatever has the port of a graph to come may take to let go of it, in seconds."""

_MOST_ON_A_MACHINE = 100
"""The largest bound that Serve knows. With one, a replica asks Ray for something, and Ray has
machines take turns only for what does; all else goes where chance has it."""
_CLUSTER = RayCluster()

_STATUS: dict[ApplicationStatus, Status] = {
    ApplicationStatus.DEPLOYING: "deploying",
    ApplicationStatus.RUNNING: "running",
    ApplicationStatus.UNHEALTHY: "unhealthy",
    ApplicationStatus.DEPLOY_FAILED: "failed",
    ApplicationStatus.DELETING: "deleting",
}


def details() -> dict[str, Any]:
    """The engine's applications in full, by name: status, message, deployments, replicas."""
    found: dict[str, Any] = _client().get_serve_details()["applications"]
    return {own: app for name, app in found.items() if (own := own_name(name)) is not None}


def observe(applications: Mapping[str, Any]) -> dict[str, dict[str, App]]:
    """Return the applications that Serve has, by graph and by name."""
    graphs: dict[str, dict[str, App]] = {}
    for name, application in applications.items():
        parsed = parse_app(name)
        status = _STATUS.get(ApplicationStatus(application["status"]))
        if parsed is None or status is None:
            continue
        graph, part, number = parsed
        revision = router_revision(application) if part == "router" else number
        is_starting = part == "router" and _is_starting(application, status)
        graphs.setdefault(graph, {})[name] = App(status, revision, reason(application), is_starting)
    return graphs


def _is_starting(application: Mapping[str, Any], status: Status) -> bool:
    """Return whether a router starts, or Serve has not begun with it; others leave after that.

    Not one in a pool, where the next one takes over from it without an end to its requests.
    """
    states = replica_states(application["deployments"].get(ROUTER) or {})
    begins = status == "deploying" and not states["stopping"]
    return (begins or bool(states["starting"])) and not application.get("in_pool")


def router_revision(application: Mapping[str, Any]) -> int | None:
    """The revision that a router application is to run; None if Serve does not say."""
    router = application["deployments"].get(ROUTER) or {}
    options = router.get("deployment_config", {}).get("ray_actor_options") or {}
    variables = (options.get("runtime_env") or {}).get("env_vars") or {}
    number = variables.get(REVISION_VARIABLE, "")
    return int(number) if number.isdigit() else None


def replica_states(deployment: Mapping[str, Any]) -> Counter[str]:
    """Return how many replicas of a deployment are in each state, such as "running"."""
    replicas = deployment.get("replicas", ())
    return Counter(ReplicaState(replica["state"]).value.lower() for replica in replicas)


def alive_nodes() -> set[str]:
    """Return the ids of Ray's nodes that are up, as its GCS knows them."""
    every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {str(node["NodeID"]) for node in every if node["Alive"]}


def reason(application: Mapping[str, Any]) -> str:
    """Why an application is not well, as one line; empty if nothing is wrong."""
    deployments = application["deployments"]
    messages = {name: deployments[name]["message"] for name in sorted(deployments)}
    marked = [found for text in messages.values() if (found := start_reason(text)) is not None]
    if marked:
        return "; ".join(dict.fromkeys(marked))
    plain = [_plain(name, text) for name, text in messages.items() if text]
    return "; ".join(plain) or _last_line(application["message"])


def text_of(state: Any) -> str:
    """Return a state of Serve's, which is an enumeration or text, as text."""
    return str(getattr(state, "value", state))


def short_reason(text: str) -> str:
    """Return what a message of Serve's on a deployment says, as one line."""
    return start_reason(text) or _last_line(text)


def _plain(deployment: str, text: str) -> str:
    """Return the reason that Serve gives for a deployment that could not give one itself."""
    segment = HEAD if deployment == ROUTER else deployment
    if "ActorDiedError" in text:
        return f"segment {segment!r}: its process died while it started; see its log"
    return f"segment {segment!r}: {_last_line(text)}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:1000] if lines else ""


def start(part: Part, release: Release, limits: RequestLimits) -> None:
    """Start a part of a release in its application; returns before it is healthy."""
    name = serve_name(app_name(release.graph, part, release.revision))
    if is_autoscaled(release.plan.head.scaling):
        release = replace(release, running=_running(release.graph))
    _STARTS.do(lambda: serve.RunTarget(_BUILDERS[part](release, limits), name, route_prefix=None))


def _run(builders: Sequence[Callable[[], serve.RunTarget]]) -> None:
    serve.run_many(
        [build() for build in builders],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )


_STARTS = Together(_run)
"""Serve 2.60 pickles what a deployment is configured with by way of a registry that all threads
share, so that two calls at once may fail: "… is not registered for pickle by value"."""


def _running(graph: str) -> int:
    """Return how many routers Serve wants of a graph now; 0 where it has none."""
    router = details().get(router_app(graph), {}).get("deployments", {}).get(ROUTER, {})
    return int(router.get("target_num_replicas") or 0)


def start_application(name: str, build: Callable[[], serve.Application]) -> None:
    """Start an application that belongs to no graph; returns before it is healthy."""
    _STARTS.do(lambda: serve.RunTarget(build(), serve_name(name), route_prefix=None))


def start_pool(pool: str) -> None:
    """Start the process of a pool, on the engine's own machine; returns before it is healthy."""
    start_application(pool_app(pool), lambda: _pool(pool))


def _pool(pool: str) -> serve.Application:
    decorate: Any = serve.deployment(
        name=POOL,
        ray_actor_options={
            "num_cpus": 0,
            "resources": _of_the_engine_s_machine(),
            "runtime_env": runtime_environment(),
        },
        health_check_period_s=_POOL_HEALTH_PERIOD,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=DEFAULT_TIMEOUT + _DRAIN_EXTRA,
    )
    return decorate(PoolReplica).bind(pool)  # type: ignore[no-any-return]


def _of_the_engine_s_machine() -> dict[str, float]:
    """Return as much of the machine's own resource as binds something to it."""
    if not is_attached():
        return {"node:__internal_head__": 0.001}
    return bound_to(next(one for one in _CLUSTER.look().nodes if one.is_head))


def delete(name: str) -> None:
    """Take an application down; returns before it is gone."""
    _client().delete_apps([serve_name(name)], blocking=False)


def _client() -> ServeControllerClient:
    client = _get_global_client()
    if client is None:
        raise Unavailable("Ray Serve does not run")
    return client


def lacking(plan: Plan, there: ClusterLook) -> str:
    """Return why the plan cannot run: no machine can take a segment of it, which does not matter
    where there may be more machines, or something else has the graph's own port. Empty if it can.
    """
    found = [unplaceable(segment, there) for segment in plan.own_segments]
    return "; ".join(filter(None, [*found, taken(plan)]))


def taken(plan: Plan) -> str:
    """Return why no router could answer at the graph's own port on the engine's machine; empty if
    one could. Blocks for some seconds where something else has the port.

    Before a revision takes over, its head is tried in a process of its own, which opens no port.
    """
    port = opened_port(plan.name, plan.port)
    if port is None or unix_folder() is None:
        return ""
    try:
        obtain(plan.name, own_host(""), port, _PORT_S).close()
    except EngineError as error:
        return str(error)
    return ""


def unplaceable(segment: Segment, there: ClusterLook) -> str:
    """Why these machines can never run the segment's replicas; empty if they can.

    Where others may come, none that is called by its name or address does.
    """
    try:
        address = _only_address(segment, there)
    except AnabranchError as error:
        return f"segment {segment.name!r}: {error} (`node_affinity`)"
    need = Need.of(actor_options(segment, {}, address), _most_on_a_machine(segment))
    replicas = fewest(segment.scaling) or 1
    problem = "" if there.may_grow else room.lacking(need, replicas, room.usable(there))
    nodes = f" (nodes {', '.join(segment.nodes)})" if segment.nodes else ""
    return problem and f"segment {segment.name!r}{nodes} {problem}"


def _only_address(segment: Segment, there: ClusterLook) -> str:
    """Return the address of the only machine for a segment, empty where it names none.

    Raises NotFound or Conflict where no machine, or several, are called so.
    """
    name = segment.placement.node_affinity if segment.placement is not None else None
    return "" if name is None else there.of(name).address


def _most_on_a_machine(segment: Segment) -> int | None:
    """Return how many replicas of a segment may share a machine; None for any number."""
    if segment.placement is not None and segment.placement.spread == "node":
        return 1
    return None if os.environ.get(LOOPBACK) == "1" else _MOST_ON_A_MACHINE


def _router(release: Release, limits: RequestLimits) -> serve.Application:
    decorate: Any = serve.deployment(name=ROUTER, **_options(release, release.plan.head))
    return decorate(RouterReplica).bind(  # type: ignore[no-any-return]
        release.graph, release.spec, release.revision, _segments_app(release), limits
    )


def _head(release: Release, limits: RequestLimits) -> serve.Application:
    head = release.plan.head
    decorate: Any = serve.deployment(name=HEAD, **_options(release, head))
    return decorate(HeadReplica).bind(  # type: ignore[no-any-return]
        release.spec, _segments_app(release)
    )


def _segments_app(release: Release) -> str:
    return app_name(release.graph, "segments", release.revision)


def _segments(release: Release, limits: RequestLimits) -> serve.Application:
    """All of them in one application, which is what the first refers to."""
    builders = [partial(_segment, release, each) for each in release.plan.own_segments[1:]]
    builders += [partial(_monitors, release)] if release.plan.monitors else []
    first, *others = builders
    return first([each([]) for each in others])


def _monitors(release: Release, peers: list[serve.Application]) -> serve.Application:
    """One replica, which reserves nothing."""
    options = _options(release, Segment(MONITORS, ()))
    decorate: Any = serve.deployment(name=MONITORS, **options)
    return decorate(MonitorReplica).bind(release.spec, peers)  # type: ignore[no-any-return]


_BUILDERS = {"router": _router, "head": _head, "segments": _segments}


def _segment(
    release: Release, segment: Segment, peers: list[serve.Application]
) -> serve.Application:
    decorate: Any = serve.deployment(name=segment.name, **_options(release, segment))
    if segment.name in release.plan.signature.explainers:
        return decorate(ExplainerReplica).bind(  # type: ignore[no-any-return]
            release.spec, segment.name, peers, _segments_app(release)
        )
    return decorate(SegmentReplica).bind(  # type: ignore[no-any-return]
        release.spec, segment.name, peers
    )


def _options(release: Release, segment: Segment) -> dict[str, Any]:
    """Options common to all deployments.

    A surge of 100 % starts new replicas before old ones stop; one try of the constructor is
    enough, since its failure ends the deployment of the revision; a replica drains for as long as
    a request may take.
    """
    pinned = segment.placement is not None and segment.placement.node_affinity is not None
    address = _only_address(segment, _CLUSTER.look()) if pinned else ""
    return {
        **scaling_options(segment.scaling, release.running if segment.name == HEAD else 0),
        "ray_actor_options": actor_options(segment, release.environment(segment), address),
        "max_replicas_per_node": _most_on_a_machine(segment),
        "max_ongoing_requests": _MANY,
        "max_constructor_retry_count": 1,
        "max_surge_percent": 100,
        "rolling_update_percentage": 1.0,
        "health_check_period_s": _HEALTH_PERIOD,
        "graceful_shutdown_wait_loop_s": 0.2,
        "graceful_shutdown_timeout_s": release.plan.timeout + _DRAIN_EXTRA,
    }
