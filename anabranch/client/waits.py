"""Operations that wait for an engine: for a revision, a rollout, a job, the end of a graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from math import inf

import httpx

from anabranch.client import control
from anabranch.client.http import (
    ConnectionBroken,
    EngineUnreachable,
    Json,
    Operation,
    pause,
    send,
)
from anabranch.errors import AnabranchError, DeployError, EngineError, NotFound, Unavailable

ROLLING = ("running", "paused")
"""Phases of a rollout that is not over."""
QUIET_S = 5.0
"""Time after which a deploy that has no news is asked for what it does, in seconds."""
TAKEN_S = 60.0
"""Time for which a bundle is sent again to an engine that restarts, in seconds."""
AGAIN_S = 1.0
"""Time between two tries, in seconds."""
JOB_OVER = ("finished", "failed", "cancelled")
"""States of batch jobs that nothing runs any more."""
_PAUSE_S = 0.1
_JOB_PAUSE_S = 1.0
_DRAIN_PAUSE_S = 0.5
_ASYNC_PAUSE_S = 2.0
_ACCEPTED = 202
_REACHED_S = 10.0
_UP = ("ready", "live", "warm")
_DOWN = ("failed", "retired")
_AWAY = (EngineUnreachable, Unavailable)
_LINES = 200
_LOADING = "anabranch.graph.loading"
"""Logger of what a process does while it starts."""


def until_answered(first: httpx.Response) -> Operation[httpx.Response]:
    """Return the reply to a request for which ``first`` is the reply; of status 202, wait for it.

    An engine that restarts is waited for. Raises the error of the reply, and InvalidRequest or
    EngineError where it was cancelled or lost.
    """
    reply, step = first, _PAUSE_S
    while reply.status_code == _ACCEPTED:
        yield from pause(step)
        step = min(step * 1.5, _ASYNC_PAUSE_S)
        try:
            reply = yield from send("GET", first.headers["location"])
        except _AWAY:
            continue
    return reply


def until_taken(
    name: str,
    bundle: bytes,
    author: str = "",
    message: str = "",
    intent: Json | None = None,
    force: bool = False,
    timeout: float = TAKEN_S,
    say: Callable[[str], None] = print,
) -> Operation[Json]:
    """Send a bundle as ``control.deploy`` does, and again where the controller restarts meanwhile.

    Nothing is made twice by that: a bundle that was taken already makes no ``new`` revision. With
    ``force`` it would, so it is sent once. ``say`` is called with the reason for each further try.
    Raise what the last try raised after ``timeout`` seconds, and at once where there is no engine.
    """
    deadline = time.monotonic() + timeout
    passing: tuple[type[AnabranchError], ...] = (ConnectionBroken, Unavailable)
    while True:
        try:
            return (yield from control.deploy(name, bundle, author, message, intent, force))
        except passing as error:
            if force or time.monotonic() > deadline:
                raise
            say(f"sending the bundle of {name} again: {error}")
        passing = _AWAY
        yield from pause(AGAIN_S)


def until_up(
    name: str, number: int, timeout: float, say: Callable[[str], None] = print
) -> Operation[Json]:
    """Wait until a revision is up and fulfils its intent, and return it.

    A revision that replaces another is live then; a canary, a mirror or the candidate of a
    rollout is ready; the state may have changed again, such as to ``warm``. An engine that
    restarts is waited for. ``say`` is called with every new state, with what a revision waits
    for that no machine has room for, and after each 5 s without news with the seconds so far and
    with what is being done, such as the node that is loaded. Raise DeployError with the
    node and the reason if the revision fails, or after ``timeout`` seconds, which does not stop
    the deploy.
    """
    begun = heard = time.monotonic()
    deadline = begun + timeout
    last = ""
    while True:
        revision = yield from _try(partial(control.revision, name, number), deadline)
        state = revision.get("state")
        if state in _UP:
            yield from until_reached(name)
            return revision
        if state in _DOWN:
            raise DeployError(f"{name} revision {number} {state}: {revision.get('reason')}")
        now = _on_its_way(revision) if revision else last
        if now != last:
            say(f"{name} revision {number} {now}")
            heard = time.monotonic()
        elif now and time.monotonic() - heard >= QUIET_S:
            heard = time.monotonic()
            doing = yield from _doing(name, number, revision)
            say(f"{name} revision {number} {now} ({heard - begun:.0f} s){doing}")
        last = now
        if time.monotonic() > deadline:
            raise DeployError(
                f"{name} revision {number} is not up after {timeout:g} s{last and f', {last}'}; "
                f"the deploy goes on: look at it with `anabranch status {name}`"
            )
        yield from pause(_PAUSE_S)


def _doing(name: str, number: int, revision: Json) -> Operation[str]:
    """Return what a revision's start is at, after a colon, as far as its log may be read."""
    if revision.get("installing"):
        return ": installing requirements.txt"
    try:
        found = yield from control.logs(name, tail=_LINES, revision=number)
    except AnabranchError:
        return ""
    steps = [line for line in found["lines"] if line.get("logger") == _LOADING]
    return f": {steps[-1]['message']}" if steps else ""


def _on_its_way(revision: Json) -> str:
    """Return the state of a revision that is not up yet, and what it waits for, if anything."""
    waits = f"; it {revision['reason']}" if revision.get("reason") else ""
    return f"is {revision['state']}{waits}"


def until_rolled_out(
    name: str, timeout: float = inf, say: Callable[[Json], None] = lambda found: None
) -> Operation[Json]:
    """Wait until the rollout of a graph has promoted its candidate, and return the rollout.

    An engine that restarts is waited for. ``say`` is called with the rollout whenever it has
    changed. Raise DeployError if the rollout is aborted or another one begins, and
    EngineError after ``timeout`` seconds, which does not stop the rollout.
    """
    deadline = time.monotonic() + timeout
    last = yield from control.rollout(name)
    say(last)
    while last["phase"] in ROLLING:
        if time.monotonic() > deadline:
            raise EngineError(
                f"{_rollout_of(name, last)} is not over after {timeout:g} s, in step "
                f"{last['step']} of {len(last['steps'])}; it goes on: look at it with "
                f"`anabranch rollout {name}`"
            )
        yield from pause(_PAUSE_S)
        found = (yield from _try(partial(control.rollout, name), deadline)) or last
        if found["revision"] != last["revision"]:
            raise DeployError(
                f"{_rollout_of(name, last)} is over: that of revision {found['revision']} has begun"
            )
        if found != last:
            say(found)
        last = found
    if last["phase"] != "promoted":
        raise DeployError(f"{_rollout_of(name, last)} was {last['phase']}: {last['reason']}")
    return last


def until_gone(name: str, timeout: float) -> Operation[None]:
    """Wait until a graph is deleted; raise EngineError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while (yield from _is_there(name)):
        if time.monotonic() > deadline:
            raise EngineError(
                f"{name} is not deleted after {timeout:g} s; the deletion goes on: look at it"
                " with `anabranch status`"
            )
        yield from pause(_PAUSE_S)


def until_reached(*names: str) -> Operation[None]:
    """Wait until requests reach the routers of graphs, of which the edge learns a moment late.

    Return after 10 s in any case, since a graph may refuse requests for other reasons.
    """
    deadline = time.monotonic() + _REACHED_S
    for name in names:
        while not (yield from _is_reached(name)):
            if time.monotonic() > deadline:
                return
            yield from pause(_PAUSE_S)


def _is_reached(name: str) -> Operation[bool]:
    """Return whether a new connection reaches a graph's router, or the graph was deleted."""
    path = f"{control.model_path(name)}/ready"
    try:
        yield from send("GET", path, headers={"connection": "close"})
    except _AWAY:
        return False
    except NotFound:
        pass
    return True


def _is_there(name: str) -> Operation[bool]:
    """Return whether a graph exists, or may exist while the engine cannot answer."""
    try:
        yield from control.graph(name)
    except NotFound:
        return False
    except _AWAY:
        return True
    return True


def until_drained(
    node: str, timeout: float, say: Callable[[str], None] = lambda text: None
) -> Operation[None]:
    """Drain a machine, and wait until nothing is left on it, no request either, or it is gone.

    ``say`` hears how many replicas there are still. An engine that restarts is waited for. Raise as
    ``control.drain`` does, and DeployError after ``timeout`` seconds, with what is left; the
    machine goes on being drained.
    """
    deadline = time.monotonic() + timeout
    drained = yield from control.drain(node)
    before = ""
    while True:
        found = yield from _try(control.nodes, deadline)
        left = next((one for one in found.get("nodes", ()) if _is_left(one, drained["id"])), None)
        if found and left is None:
            return
        if left is not None and (what := _still(left)) != before:
            say(what)
            before = what
        if time.monotonic() > deadline:
            raise DeployError(_not_drained(left or drained, timeout, found.get("pending", ())))
        yield from pause(_DRAIN_PAUSE_S)


def _try(ask: Callable[[], Operation[Json]], deadline: float) -> Operation[Json]:
    """Return an answer of the engine, or an empty dict while the engine cannot answer."""
    try:
        return (yield from ask())
    except _AWAY:
        if time.monotonic() > deadline:
            raise
        return {}


def _rollout_of(name: str, found: Json) -> str:
    return f"the rollout of {name} revision {found['revision']}"


def _is_left(node: Json, machine: str) -> bool:
    """Return whether there is something on a machine that is to be empty."""
    is_it = node["id"] == machine and node["state"] != "lost"
    return is_it and bool(node["segments"] or node["ingress"])


def _still(node: Json) -> str:
    count = sum(one["replicas"] for one in node["segments"])
    if not count:
        return "requests are still under way at its edge"
    return f"{count} {'replica' if count == 1 else 'replicas'} still to move"


def _not_drained(node: Json, timeout: float, pending: Sequence[Json]) -> str:
    names = sorted({f"{one['graph']} ({one['deployment']})" for one in node["segments"]})
    has = f"replicas of {', '.join(names)}" if names else "requests under way"
    wanted = ", ".join(
        " and ".join(f"{size:g} {name}" for name, size in one["resources"].items())
        for one in pending
    )
    missing = f"; no other machine has {wanted} free" if wanted and names else ""
    return f"machine {node['name']!r} still has {has} after {timeout:g} s{missing}"


def until_job_over(id: str, said: Callable[[Json], None] = lambda found: None) -> Operation[Json]:
    """Wait until a batch job of the engine is over, and return it; ``said`` hears how it goes.

    An engine that restarts is waited for.
    """
    while True:
        try:
            found = yield from control.job(id)
        except _AWAY:
            found = {}
        if found:
            said(found)
        if found.get("state") in JOB_OVER:
            return found
        yield from pause(_JOB_PAUSE_S)
