"""What to do next for one graph, given what should run and what runs. Pure; applies nothing.

The way of a revision: its segments start in an application of their own, and beside them its head
as a candidate, so that constructors, loading and health checks are tried where they cannot hurt.
Then the router is rolled over to it; Serve reports the router as running once the replicas of the
old one have drained. Only then is the revision live, and what it replaced goes away.

A graph's first revision needs no candidate: there is nothing to protect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Status = Literal["deploying", "running", "unhealthy", "failed", "deleting"]
Part = Literal["router", "segments", "head"]
_APP = re.compile(r"(?P<graph>[a-z][-a-z0-9]*)(?:\.r(?P<revision>[0-9]+)(?P<head>\.head)?)?")


@dataclass(frozen=True)
class Desired:
    """What the store wants of a graph."""

    graph: str
    live: int | None = None
    """The revision that answers."""
    next: int | None = None
    """The newest revision that is on its way."""
    superseded: tuple[int, ...] = ()
    """Revisions that were on their way when ``next`` came."""
    remote: frozenset[int] = frozenset()
    """Revisions with segments outside the head."""
    overdue: bool = False
    """Whether ``next`` has had its time."""
    deleted: bool = False


@dataclass(frozen=True)
class App:
    """A Serve application as it is. ``revision`` is the one that its replicas are to run."""

    status: Status
    revision: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Start:
    """Bring up a part of a revision, replacing what its application runs now.

    ``retry`` marks that it failed before, so that the caller can take its time.
    """

    part: Part
    revision: int
    retry: bool = False


@dataclass(frozen=True)
class Delete:
    """Take an application down."""

    app: str


@dataclass(frozen=True)
class Promote:
    """Note that a revision is live."""

    revision: int


@dataclass(frozen=True)
class Fail:
    """Note that a revision is given up."""

    revision: int
    reason: str


@dataclass(frozen=True)
class Wait:
    """Serve is at work; look again soon."""


@dataclass(frozen=True)
class MarkDeleted:
    """Note that nothing of the graph runs any more."""


Action: TypeAlias = Start | Delete | Promote | Fail | Wait | MarkDeleted


def app_name(graph: str, part: Part, revision: int) -> str:
    """Name of the Serve application of a part: ``digits``, ``digits.r3``, ``digits.r3.head``."""
    return {
        "router": graph,
        "segments": f"{graph}.r{revision}",
        "head": f"{graph}.r{revision}.head",
    }[part]


def parse_app(name: str) -> tuple[str, Part, int | None] | None:
    """Graph, part and revision of an application's name; None if it is not of a graph."""
    match = _APP.fullmatch(name)
    if match is None:
        return None
    number = match["revision"]
    part: Part = "router" if number is None else "head" if match["head"] else "segments"
    return match["graph"], part, None if number is None else int(number)


def decide(desired: Desired, observed: Mapping[str, App]) -> list[Action]:
    """The actions to take now; none if all is as it should be. ``observed`` is by app name."""
    if desired.deleted:
        return _remove(desired, observed)
    gone = [Fail(number, f"superseded by revision {desired.next}") for number in desired.superseded]
    if desired.next is not None:
        ahead = _roll_out(desired, desired.next, observed)
    elif desired.live is not None:
        ahead = _keep(desired, desired.live, observed)
    else:
        ahead = []
    return [*gone, *ahead, *_clean_up(desired, observed)]


def _remove(desired: Desired, observed: Mapping[str, App]) -> list[Action]:
    """Take the router down first, so that no request meets segments that are going."""
    if not observed:
        return [MarkDeleted()]
    first = [desired.graph] if desired.graph in observed else list(observed)
    return [*_delete(first, observed), Wait()]


def _roll_out(desired: Desired, number: int, observed: Mapping[str, App]) -> list[Action]:
    router = observed.get(desired.graph)
    arrived = router is not None and router.revision == number
    parts: list[Part] = ["segments"] if number in desired.remote else []
    if arrived:
        parts.append("router")
    elif router is not None:
        parts.append("head")
    names = {part: app_name(desired.graph, part, number) for part in parts}
    apps = {part: observed.get(name) for part, name in names.items()}
    for app in apps.values():
        if app is not None and app.status in ("failed", "unhealthy"):
            return [Fail(number, app.reason or "it did not become healthy")]
    if desired.overdue:
        return [Fail(number, _overdue(names, observed))]
    missing: list[Action] = [Start(part, number) for part, app in apps.items() if app is None]
    if missing:
        return missing
    if any(app is None or app.status != "running" for app in apps.values()):
        return [Wait()]
    if arrived:
        return [Promote(number)]
    if router is not None and router.status == "deleting":
        return [Wait()]
    return [Start("router", number)]


def _overdue(names: Mapping[Part, str], observed: Mapping[str, App]) -> str:
    late = [
        f"{name}: {app.reason}" if (app := observed.get(name)) and app.reason else name
        for name in names.values()
        if name not in observed or observed[name].status != "running"
    ]
    return f"it was not healthy in time; still waiting for {'; '.join(late) or 'the router'}"


def _keep(desired: Desired, number: int, observed: Mapping[str, App]) -> list[Action]:
    """Bring back what is missing of the live revision; a router only onto segments that answer."""
    if number in desired.remote:
        actions = _repair(
            "segments", number, observed.get(app_name(desired.graph, "segments", number))
        )
        if actions:
            return actions
    return _repair("router", number, observed.get(desired.graph))


def _repair(part: Part, number: int, app: App | None) -> list[Action]:
    if app is None or (part == "router" and app.revision != number and app.status != "deleting"):
        return [Start(part, number)]
    if app.status == "failed":
        return [Start(part, number, retry=True)]
    return [Wait()] if app.status in ("deploying", "deleting") else []


def _clean_up(desired: Desired, observed: Mapping[str, App]) -> Iterator[Action]:
    """Take down what neither answers, nor is on its way, nor may still hold requests."""
    router = observed.get(desired.graph)
    wanted = {desired.live, desired.next} - {None}
    settled = router is None or (
        router.status in ("running", "unhealthy") and router.revision in wanted
    )
    keep = wanted & desired.remote
    if router is not None and router.revision not in wanted:
        keep |= {router.revision}
    leftover = []
    for name in observed:
        parsed = parse_app(name)
        assert parsed is not None and parsed[0] == desired.graph
        _, part, number = parsed
        if part == "router":
            gone = not wanted
        elif part == "head":
            gone = number != desired.next
        else:
            gone = settled and number not in keep
        if gone:
            leftover.append(name)
    actions = _delete(leftover, observed)
    yield from actions
    if leftover and not actions:
        yield Wait()


def _delete(names: list[str], observed: Mapping[str, App]) -> list[Action]:
    return [Delete(name) for name in names if observed[name].status != "deleting"]
