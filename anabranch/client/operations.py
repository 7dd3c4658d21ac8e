"""Operations on the graphs of an engine, as the public clients offer them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

from anabranch.client import control, waits
from anabranch.client.bundle.author import author_of
from anabranch.client.bundle.intents import intent
from anabranch.client.connection.session import EngineSession
from anabranch.client.http import Json, Operation, work
from anabranch.client.portable.sending import send_models
from anabranch.client.prepared import prepare
from anabranch.client.progress import progress
from anabranch.graph.builder import GraphBuilder


@dataclass(frozen=True)
class DeployedRevision:
    """A revision that was deployed; ``state`` is the state that it had last."""

    graph: str
    revision: int
    state: str
    url: str
    """Where the graph answers requests."""
    warnings: tuple[str, ...] = ()
    """What is surprising in its bundle."""
    new: bool = True
    """Whether the deploy made it; it did not where a revision of this content ran already."""


def deploy(
    session: EngineSession,
    graph: GraphBuilder | str | os.PathLike[str],
    *,
    canary: float | None = None,
    mirror: float | None = None,
    rollout: Sequence[float] | None = None,
    hold: str | None = None,
    now: bool = False,
    force: bool = False,
    sign: str | os.PathLike[str] | None = None,
    author: str | None = None,
    message: str = "",
    wait: bool = True,
    timeout: float = 120.0,
) -> Operation[DeployedRevision]:
    """Deploy a graph as a new revision: one built in Python, or the file of a spec.

    The file may also be a portable bundle, or ``oci://host/name:tag`` one in a registry. All files
    beside the spec go along, of a graph built in Python those of its root. The new
    revision takes over once it is up, unless the spec's rollout decides, or one of these:
    ``canary`` gives it that percentage of the traffic, ``mirror`` copies of that percentage of the
    requests, ``rollout`` moves traffic in steps of these percentages, each for ``hold`` (such as
    "2m") at least, and ``now`` gives it all traffic without a rollout. A graph that is a revision
    in the traffic already makes no new one and changes nothing, unless ``force``. ``sign`` is the
    file of an Ed25519 private key, for an engine that takes signed bundles only.

    With ``wait``, return when the revision is up; ``timeout`` is in seconds. ``author`` is git's
    ``user.name`` or the user, unless given.

    Raise SpecError with all mistakes of the graph before anything is sent, ValueError for arguments
    that exclude each other, DeployError with the node and the reason if the revision fails or is
    not up in time, which does not stop it, TooLarge, InvalidRequest, or, where the engine's
    controller stays away, Unavailable or EngineError.
    """
    wanted = intent(canary, mirror, rollout, hold, now)
    with progress("checking the graph") as say:
        prepared = yield from work(lambda: prepare(graph, session.home).signed(sign))
        name = prepared.graph
        if author is None:
            author = yield from work(partial(author_of, prepared.folder))
        if prepared.portable is not None:
            yield from send_models(prepared.portable, say)
        say(f"sending the bundle of {name}")
        sent = yield from waits.until_taken(
            name,
            prepared.bundle.data,
            author,
            message,
            wanted,
            force,
            min(timeout, waits.TAKEN_S),
            say,
        )
        number, state = sent["revision"], sent["state"]
        if wait:
            state = (yield from waits.until_up(name, number, timeout, say))["state"]
        say(f"{name} revision {number} is {state}")
    url = f"{session.url}{control.model_path(name)}"
    return DeployedRevision(name, number, state, url, tuple(prepared.warnings), sent["new"])


def status(
    session: EngineSession, graph: str | None = None, revisions: int = 10
) -> Operation[Json]:
    """Return a graph with its state, traffic, rollout, segments and newest ``revisions``.

    Without ``graph``, return ``{"graphs": [...]}``, all graphs in short. Raise NotFound for an
    unknown graph, EngineError for a wrong token.
    """
    if graph is None:
        return {"graphs": (yield from control.graphs())}
    return (yield from control.graph(graph, revisions))


def traffic(
    session: EngineSession,
    graph: str,
    weights: Mapping[int, float] | None = None,
    mirrors: Mapping[int, float] | None = None,
) -> Operation[Json]:
    """Set how requests are split between revisions, or only return it.

    ``weights`` are those of revisions by number; only their ratio counts, and revisions left out
    get 0. ``mirrors`` are percentages of requests that are copied to revisions; 0 ends a mirror.
    Return once the change is in force, with the weights and mirrors; ``routers`` counts the routers
    that have confirmed it.

    Raise NotFound, InvalidRequest for a revision that is not up, or Conflict.
    """
    if weights is None and mirrors is None:
        return (yield from control.traffic(graph))
    return (yield from control.set_traffic(graph, weights, mirrors))


def rollout(
    session: EngineSession,
    graph: str,
    action: str | None = None,
    *,
    wait: bool = False,
    timeout: float = inf,
) -> Operation[Json]:
    """Return the rollout of a graph, also one that is over, after an ``action`` on it.

    Actions are pause, resume, approve, promote and abort. With ``wait``, return when the candidate
    was promoted; ``timeout`` is in seconds.

    Raise NotFound without a rollout, Conflict where it does not allow the action; with ``wait``,
    DeployError if the candidate was not promoted, and EngineError after ``timeout``, which does not
    stop the rollout.
    """
    if action is not None:
        yield from control.move_rollout(graph, action)
    if not wait:
        return (yield from control.rollout(graph))
    with progress(f"waiting for the rollout of {graph}") as say:
        return (
            yield from waits.until_rolled_out(graph, timeout, lambda one: say(_step(graph, one)))
        )


def _step(graph: str, found: Json) -> str:
    return (
        f"{graph} revision {found['revision']} is {found['phase']}, step {found['step']} of "
        f"{len(found['steps'])}, with {found['weight']:g} % of the traffic"
    )


def history(session: EngineSession, graph: str, limit: int = 20) -> Operation[list[Json]]:
    """Return the ``limit`` newest revisions of a graph, also of a deleted one, newest first.

    Raise NotFound for a graph that was never deployed.
    """
    found: list[Json] = (yield from control.history(graph, limit))["revisions"]
    return found


def logs(
    session: EngineSession,
    graph: str,
    tail: int = 100,
    *,
    node: str | None = None,
    revision: int | None = None,
    request_id: str | None = None,
    machine: str | None = None,
) -> Operation[list[Json]]:
    """Return the last ``tail`` lines that a graph's replicas logged or printed, oldest first.

    ``node``, ``revision``, ``request_id`` and ``machine``, by its name or address, choose lines. A
    line has ``time``, ``level``, ``replica``, ``message`` and, where known, ``node``,
    ``request_id`` and ``exception``, and ``machine`` where the engine has several. Raise NotFound
    for an unknown graph or machine.
    """
    found = yield from control.logs(graph, tail, None, node, revision, request_id, machine)
    lines: list[Json] = found["lines"]
    return lines


def events(
    session: EngineSession,
    graph: str | None = None,
    tail: int = 100,
    *,
    after: int | None = None,
    kind: str | None = None,
    actor: str | None = None,
    since: float | str | None = None,
    until: float | str | None = None,
    revision: int | None = None,
) -> Operation[list[Json]]:
    """Return the last ``tail`` events of the engine's log, oldest first; at most 1000.

    With ``after``, return the events with a larger id instead, at most 100 of them. ``graph``,
    ``kind`` and ``actor`` choose events, with ``*`` for any characters; an actor is a kind such as
    ``engine``, a name, or both as in ``key:ci``. Times are Unix times, or ISO 8601. An event has
    ``id``, ``at``, ``graph``, ``revision``, ``kind``, ``message``, ``data``, ``change``, ``actor``
    and ``hash``. Raise InvalidRequest for a time that is none.
    """
    filters = control.given(kind=kind, actor=actor, since=since, until=until, revision=revision)
    if after is not None:
        return (yield from control.events(graph, after, filters))
    return (yield from control.newest_events(graph, tail, filters))


def delete(
    session: EngineSession, graph: str, *, wait: bool = True, timeout: float = 120.0
) -> Operation[None]:
    """Delete a graph. Its revisions stay on record: ``rollback`` brings it back.

    With ``wait``, return when nothing of it runs any more; ``timeout`` is in seconds. Raise
    NotFound, or EngineError after ``timeout``, which does not stop the deletion.
    """
    yield from control.delete(graph)
    if wait:
        yield from waits.until_gone(graph, timeout)
