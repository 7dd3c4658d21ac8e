from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.reconcile import (
    Action,
    App,
    Delete,
    Desired,
    Fail,
    MarkDeleted,
    Promote,
    Start,
    Wait,
    app_name,
    decide,
    parse_app,
)

G = "digits"
BOTH = frozenset({1, 2})


def running(revision: int | None = None) -> App:
    return App("running", revision)


def going(revision: int | None = None) -> App:
    return App("deploying", revision)


def broken(reason: str, revision: int | None = None) -> App:
    return App("failed", revision, reason)


TABLE: dict[str, tuple[Desired, dict[str, App], list[Action]]] = {
    "nothing wanted, nothing there": (Desired(G), {}, []),
    "first revision, one segment": (Desired(G, next=1), {}, [Start("router", 1)]),
    "first revision, two segments": (
        Desired(G, next=1, remote=BOTH), {}, [Start("segments", 1)],
    ),
    "first revision, segments start": (
        Desired(G, next=1, remote=BOTH), {f"{G}.r1": going()}, [Wait()],
    ),
    "first revision, segments run": (
        Desired(G, next=1, remote=BOTH), {f"{G}.r1": running()}, [Start("router", 1)],
    ),
    "first revision, router starts": (Desired(G, next=1), {G: going(1)}, [Wait()]),
    "first revision, router runs": (Desired(G, next=1), {G: running(1)}, [Promote(1)]),
    "first revision, router fails": (
        Desired(G, next=1), {G: broken("no file", 1)}, [Fail(1, "no file")],
    ),
    "first revision failed, clean up": (Desired(G), {G: broken("no file", 1)}, [Delete(G)]),
    "router gone first, then segments": (
        Desired(G), {G: App("deleting", 1), f"{G}.r1": running()}, [Wait()],
    ),
    "all is well": (Desired(G, live=1), {G: running(1)}, []),
    "live and unhealthy is for Serve to mend": (
        Desired(G, live=1), {G: App("unhealthy", 1)}, [],
    ),
    "second revision: candidates first": (
        Desired(G, live=1, next=2, remote=BOTH),
        {G: running(1), f"{G}.r1": running()},
        [Start("segments", 2), Start("head", 2)],
    ),
    "second revision: candidates start": (
        Desired(G, live=1, next=2), {G: running(1), f"{G}.r2.head": going()}, [Wait()],
    ),
    "second revision: candidate fails": (
        Desired(G, live=1, next=2),
        {G: running(1), f"{G}.r2.head": broken("bad")},
        [Fail(2, "bad")],
    ),
    "second revision: candidate becomes unhealthy": (
        Desired(G, live=1, next=2),
        {G: running(1), f"{G}.r2.head": App("unhealthy")},
        [Fail(2, "it did not become healthy")],
    ),
    "second revision: time is up": (
        Desired(G, live=1, next=2, overdue=True),
        {G: running(1), f"{G}.r2.head": App("deploying", reason="no GPU")},
        [Fail(2, "it was not healthy in time; still waiting for digits.r2.head: no GPU")],
    ),
    "failed candidate goes": (
        Desired(G, live=1), {G: running(1), f"{G}.r2.head": broken("bad")},
        [Delete(f"{G}.r2.head")],
    ),
    "second revision: router rolls": (
        Desired(G, live=1, next=2), {G: running(1), f"{G}.r2.head": running()},
        [Start("router", 2)],
    ),
    "old segments stay while the old router drains": (
        Desired(G, live=1, next=2, remote=BOTH),
        {G: going(2), f"{G}.r1": running(), f"{G}.r2": running(), f"{G}.r2.head": running()},
        [Wait()],
    ),
    "the roll fails: give up": (
        Desired(G, live=1, next=2), {G: broken("oom", 2)}, [Fail(2, "oom")],
    ),
    "the roll failed: roll back, keep both segments": (
        Desired(G, live=1, remote=BOTH),
        {G: broken("oom", 2), f"{G}.r1": running(), f"{G}.r2": running()},
        [Start("router", 1)],
    ),
    "drained: promote": (
        Desired(G, live=1, next=2, remote=BOTH),
        {G: running(2), f"{G}.r1": running(), f"{G}.r2": running()},
        [Promote(2)],
    ),
    "promoted: retire": (
        Desired(G, live=2, remote=BOTH),
        {G: running(2), f"{G}.r1": running(), f"{G}.r2": running(), f"{G}.r2.head": running()},
        [Delete(f"{G}.r1"), Delete(f"{G}.r2.head")],
    ),
    "superseded": (
        Desired(G, live=1, next=3, superseded=(2,)),
        {G: running(1), f"{G}.r2.head": going()},
        [Fail(2, "superseded by revision 3"), Start("head", 3), Delete(f"{G}.r2.head")],
    ),
    "all of Serve is gone: segments first": (
        Desired(G, live=2, remote=BOTH), {}, [Start("segments", 2)],
    ),
    "all of Serve is gone: then the router": (
        Desired(G, live=2, remote=BOTH), {f"{G}.r2": running()}, [Start("router", 2)],
    ),
    "a live router that fails to come back is tried again": (
        Desired(G, live=1), {G: broken("no GPU", 1)}, [Start("router", 1, retry=True)],
    ),
    "deleted: router first": (
        Desired(G, deleted=True), {G: running(1), f"{G}.r1": running()}, [Delete(G), Wait()],
    ),
    "deleted: then the rest": (
        Desired(G, deleted=True), {f"{G}.r1": running()}, [Delete(f"{G}.r1"), Wait()],
    ),
    "deleted: gone": (Desired(G, deleted=True), {}, [MarkDeleted()]),
    "deployed again while it is being deleted": (
        Desired(G, next=2), {G: App("deleting", 1)}, [Start("head", 2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_table(case: str) -> None:
    desired, observed, expected = TABLE[case]
    assert decide(desired, observed) == expected


@pytest.mark.parametrize("part", ["router", "segments", "head"])
def test_app_names_are_read_back(part: str) -> None:
    graph, found, revision = parse_app(app_name("my-graph", part, 12)) or ("", "", 0)
    assert (graph, found) == ("my-graph", part)
    assert revision == (None if part == "router" else 12)


@pytest.mark.parametrize("name", ["anabranch.gateway", "default.x", "a.r1.tail", "", "A"])
def test_other_apps_are_not_ours(name: str) -> None:
    assert parse_app(name) is None


class World:
    """A Serve and a store of one graph, in which every start and delete ends one step later."""

    def __init__(self, desired: Desired, apps: dict[str, App], bad: Iterable[int]) -> None:
        self.live, self.next = desired.live, desired.next
        self.superseded, self.remote = desired.superseded, desired.remote
        self.deleted, self.apps, self.bad = desired.deleted, dict(apps), set(bad)
        self.marked = False

    @property
    def desired(self) -> Desired:
        return Desired(G, self.live, self.next, self.superseded, self.remote, deleted=self.deleted)

    def step(self) -> list[Action]:
        actions = decide(self.desired, self.apps)
        self.pass_time()
        for action in actions:
            self.apply(action)
        return actions

    def pass_time(self) -> None:
        self.apps = {
            name: self.settled(app) for name, app in self.apps.items() if app.status != "deleting"
        }

    def settled(self, app: App) -> App:
        if app.status != "deploying":
            return app
        return App("failed" if app.revision in self.bad else "running", app.revision, "bad")

    def apply(self, action: Action) -> None:
        match action:
            case Start(part, revision):
                self.apps[app_name(G, part, revision)] = App("deploying", revision)
            case Delete(app) if app in self.apps:
                self.apps[app] = App("deleting", self.apps[app].revision)
            case Promote(revision):
                self.live, self.next = revision, None
            case Fail(revision):
                self.superseded = tuple(n for n in self.superseded if n != revision)
                self.next = None if self.next == revision else self.next
            case MarkDeleted():
                self.marked = True


@st.composite
def worlds(draw: st.DrawFn) -> World:
    live = draw(st.sampled_from([None, 1]))
    following = draw(st.sampled_from([None, 3]))
    names = [G, *(app_name(G, part, n) for part in ("segments", "head") for n in (1, 2, 3))]
    statuses = st.sampled_from(["deploying", "running", "failed", "deleting", "unhealthy"])
    apps = {}
    for name in draw(st.sets(st.sampled_from(names))):
        _, _, number = parse_app(name) or ("", "", None)
        apps[name] = App(draw(statuses), number or draw(st.sampled_from([1, 2, 3])), "bad")
    desired = Desired(
        G,
        live,
        following,
        superseded=(2,) if following and draw(st.booleans()) else (),
        remote=frozenset(draw(st.sets(st.sampled_from([1, 2, 3])))),
        deleted=draw(st.booleans()) and not following and not live,
    )
    return World(desired, apps, draw(st.sets(st.sampled_from([2, 3]))))


@given(worlds())
def test_acting_on_decisions_converges(world: World) -> None:
    wanted = world.next
    for _ in range(30):
        if not world.step():
            break
        if world.marked and not world.apps:
            return
    assert decide(world.desired, world.apps) == []
    assert world.next is None and not world.superseded
    if wanted in world.bad or wanted is None:
        assert world.live in (None, 1)
    expected = set() if world.live is None else {G}
    if world.live in world.remote:
        expected.add(app_name(G, "segments", world.live))
    assert set(world.apps) == expected
    if world.live is not None:
        assert world.apps[G].revision == world.live


@given(worlds())
def test_a_router_never_loses_the_segments_that_it_calls(world: World) -> None:
    for _ in range(30):
        router = world.apps.get(G)
        deleted = {action.app for action in world.step() if isinstance(action, Delete)}
        if router is not None and router.revision in world.remote:
            assert app_name(G, "segments", router.revision) not in deleted
