"""Decides the next step for one graph from its desired and its actual state; applies nothing.

The way of a revision: its segments start in an application of their own, and beside them its head,
which evaluates the whole graph. Constructors, loading and health checks are tried there, where
they cannot hurt. Once both run the revision has arrived, and may get traffic from then on.

Routers inline the stable revision. Where another one has become that, the router is rolled over to
it, while requests go to its head by the routing table. The revision that the router inlined until
then gets a head of its own first, if it is to stay up, so that traffic can go back to it at once.
Serve reports the router as running once the old replicas have drained: then it is settled, and the
head of the stable revision goes.

A graph's first revision needs no head of its own: there is nothing to protect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from anabranch.router.table import Part, app_name, parse_app, router_app

Status = Literal["deploying", "running", "unhealthy", "failed", "deleting"]


@dataclass(frozen=True)
class Desired:
    """The state of a graph that the store asks for."""

    graph: str
    stable: int | None = None
    """The stable revision, which routers inline."""
    arms: frozenset[int] = frozenset()
    """Revisions with a weight above 0."""
    up: frozenset[int] = frozenset()
    """Every revision that is to run: the stable one, arms, mirrors, warm ones."""
    coming: tuple[int, ...] = ()
    """Revisions on their way, oldest first."""
    remote: frozenset[int] = frozenset()
    """Revisions with segments outside the head."""
    overdue: frozenset[int] = frozenset()
    """Revisions on their way that have had their time."""
    deleted: bool = False
    pool: str | None = None
    """The pool that its router is to be in, if any."""

    @property
    def wanted(self) -> frozenset[int]:
        """Every revision of which something should run."""
        return self.up | frozenset(self.coming)


@dataclass(frozen=True)
class App:
    """A Serve application as it is. ``revision`` is the one that its replicas are to run."""

    status: Status
    revision: int | None = None
    reason: str = ""
    is_starting: bool = False
    """Whether a router starts, or is about to. It answers before Serve has heard so."""

    @property
    def answers(self) -> bool:
        """Whether its replicas run; Serve mends the ones that are unhealthy."""
        return self.status in ("running", "unhealthy")


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
class Arrive:
    """Note that a revision on its way is up."""

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


Action: TypeAlias = Start | Delete | Arrive | Fail | Wait | MarkDeleted


def decide(desired: Desired, observed: Mapping[str, App]) -> list[Action]:
    """The actions to take now; none if all is as it should be. ``observed`` is by app name."""
    if desired.deleted:
        return _remove(observed, desired.graph)
    view = _View(desired, observed)
    return [*_bring_up(view), *_keep(view), *_route(view), *_clean_up(view)]


def _remove(observed: Mapping[str, App], graph: str) -> list[Action]:
    """Take the router down first, so that no request meets segments that are going."""
    if not observed:
        return [MarkDeleted()]
    router = router_app(graph)
    first = [router] if router in observed else list(observed)
    return [*_delete(first, observed), Wait()]


@dataclass(frozen=True)
class _View:
    """The desired and the observed state, which are compared."""

    desired: Desired
    observed: Mapping[str, App]

    @property
    def router(self) -> App | None:
        return self.observed.get(router_app(self.desired.graph))

    @property
    def settled(self) -> bool:
        """Whether every router replica inlines the stable revision, or there is none at all."""
        router = self.router
        return router is None or (router.answers and router.revision == self.desired.stable)

    def app(self, part: Part, number: int) -> App | None:
        return self.observed.get(app_name(self.desired.graph, part, number))

    def parts(self, number: int) -> list[Part]:
        """Return the parts that a revision runs in beside the router."""
        return ["segments", "head"] if number in self.desired.remote else ["head"]

    def apps(self, number: int) -> list[App | None]:
        return [self.app(part, number) for part in self.parts(number)]

    def runs(self, number: int) -> bool:
        """Return whether all of a revision runs outside the router."""
        return all(app is not None and app.answers for app in self.apps(number))

    def tried(self, number: int) -> bool:
        """Return whether all of a revision has come up, or failed to."""
        return all(
            app is not None and (app.answers or app.status == "failed") for app in self.apps(number)
        )


def _bring_up(view: _View) -> Iterator[Action]:
    """Bring up the revisions on their way: side by side, but for the first one of a graph."""
    coming = view.desired.coming
    if view.desired.stable is None and coming:
        yield from _first(view, coming[0])
        return
    for number in coming:
        yield from _arrive(view, number, view.parts(number))


def _first(view: _View, number: int) -> Iterator[Action]:
    """Straight into the router; one that inlines a revision which never got live is replaced."""
    parts: list[Part] = ["segments"] if number in view.desired.remote else []
    router = view.router
    if router is not None and router.status != "deleting" and _is_of(router, number):
        yield from _arrive(view, number, [*parts, "router"])
        return
    pending = list(_arrive(view, number, parts))
    if pending != [Arrive(number)]:
        yield from pending
    elif router is not None and router.status == "deleting":
        yield Wait()
    else:
        yield Start("router", number)


def _arrive(view: _View, number: int, parts: list[Part]) -> Iterator[Action]:
    """The next actions until all parts of a revision run."""
    apps = {part: view.app(part, number) for part in parts}
    bad = [app for app in apps.values() if app and app.status in ("failed", "unhealthy")]
    if bad:
        yield Fail(number, bad[0].reason or "it did not become healthy")
    elif number in view.desired.overdue:
        yield Fail(number, _overdue(view, number, apps))
    elif any(app is None for app in apps.values()):
        yield from (Start(part, number) for part, app in apps.items() if app is None)
    elif any(app is None or app.status != "running" for app in apps.values()):
        yield Wait()
    else:
        yield Arrive(number)


def _overdue(view: _View, number: int, apps: Mapping[Part, App | None]) -> str:
    late = [
        f"{name}: {app.reason}" if app and app.reason else name
        for part, app in apps.items()
        if app is None or app.status != "running"
        for name in [app_name(view.desired.graph, part, number)]
    ]
    return f"it was not healthy in time; still waiting for {'; '.join(late) or 'the router'}"


def _keep(view: _View) -> Iterator[Action]:
    """Bring back what is missing of the revisions that are up."""
    for number in sorted(view.desired.up):
        for part in view.parts(number):
            yield from _repair(view, part, number)


def _repair(view: _View, part: Part, number: int) -> Iterator[Action]:
    app = view.app(part, number)
    inlined = part == "head" and number == view.desired.stable
    if inlined and view.settled:
        return  # of no use any more
    if app is None:
        # Where the router is on its way to the stable revision, the head has gone already, or was
        # never needed.
        if not (inlined and view.router is not None and _is_of(view.router, number)):
            yield Start(part, number)
    elif app.status == "failed":
        yield Start(part, number, retry=True)
    elif not app.answers:
        yield Wait()


def _is_of(router: App, number: int) -> bool:
    """Whether the router was last asked to inline a revision; Serve tells a moment late which."""
    return router.revision == number or (router.revision is None and router.status == "deploying")


def _route(view: _View) -> Iterator[Action]:
    """Have a router, and have it inline the stable revision."""
    stable, router = view.desired.stable, view.router
    if stable is None:
        return
    if router is None:
        if _may_open(view, stable):
            yield Start("router", stable)
    elif router.status == "deleting":
        yield Wait()
    elif _is_of(router, stable):
        yield from _watch(router, stable)
    elif router.is_starting:
        yield Wait()  # Serve would end what starts at once, with the requests that it has
    elif view.runs(stable) and _replaceable(view, router):
        yield Start("router", stable)


def _may_open(view: _View, stable: int) -> bool:
    """Whether a new router would find all that it sends requests to, as far as that can come up."""
    if stable in view.desired.remote:
        segments = view.app("segments", stable)
        if segments is None or not segments.answers:
            return False
    return all(view.tried(number) for number in view.desired.arms - {stable})


def _replaceable(view: _View, router: App) -> bool:
    """Return whether what the router inlines now is up elsewhere, if it is to stay up and can."""
    outgoing = router.revision
    return outgoing is None or outgoing not in view.desired.up or view.tried(outgoing)


def _watch(router: App, stable: int) -> Iterator[Action]:
    if router.status == "failed":
        yield Start("router", stable, retry=True)
    elif not router.answers:
        yield Wait()


def _clean_up(view: _View) -> Iterator[Action]:
    """Take down what neither answers, nor is on its way, nor may still hold requests."""
    leftover = [name for name in view.observed if _is_leftover(view, name)]
    actions = _delete(leftover, view.observed)
    yield from actions
    if leftover and not actions:
        yield Wait()


def _is_leftover(view: _View, name: str) -> bool:
    parsed = parse_app(name)
    assert parsed is not None and parsed[0] == view.desired.graph
    _, part, number = parsed
    wanted = view.desired.wanted
    if part == "router":
        return not wanted
    assert number is not None
    if part == "head":
        return number not in wanted or (number == view.desired.stable and view.settled)
    return not _needs_segments(view, number)


def _needs_segments(view: _View, number: int) -> bool:
    """Whether a revision's segments may be called: by its head, or by a router that inlines it."""
    wanted, router = view.desired.wanted, view.router
    if number in wanted:
        return number in view.desired.remote
    calm = router is None or (router.answers and router.revision in wanted)
    return not calm or (router is not None and router.revision == number)


def _delete(names: list[str], observed: Mapping[str, App]) -> list[Action]:
    return [Delete(name) for name in names if observed[name].status != "deleting"]
