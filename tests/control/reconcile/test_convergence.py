"""Whatever happens to a graph, in whatever order: its traffic always finds its revisions, and in
the end exactly what should run does.

A model of Serve stands for the real one; the store, the lifecycle and the decisions are real.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.decide import (
    Action,
    App,
    Arrive,
    Delete,
    Desired,
    Fail,
    MarkDeleted,
    Start,
    Status,
    Wait,
    decide,
)
from anabranch.control.lifecycle.operations import Change, Intent, Moment, Situation
from anabranch.control.store.store import Store
from anabranch.errors import Conflict, InvalidRequest, NotFound
from anabranch.router.table import Part, app_name, parse_app, router_app
from anabranch.specs.models import Rollout
from tests.control.stores import new_store
from tests.examples import examples

NAMES = (f"team/g{number}" for number in itertools.count())
PLAN = Rollout.model_validate({"steps": [10, 50], "hold": "5s"})


@dataclass
class FakeApp:
    """A Serve application; ``target`` is what its replicas are to run, ``inlined`` what the
    replicas of a router do, ``shown`` what Serve says of the target.
    """

    target: int
    status: Status = "deploying"
    inlined: frozenset[int] = frozenset()
    shown: int | None = None


@dataclass
class FakeServe:
    """Applications that progress when they are told to."""

    graph: str
    apps: dict[str, FakeApp] = field(default_factory=dict)

    def start(self, part: Part, number: int) -> None:
        name = app_name(self.graph, part, number)
        old = self.apps.get(name)
        assert old is None or old.status != "deleting", "started while it is being deleted"
        shown = number if part != "router" else old.shown if old is not None else None
        self.apps[name] = FakeApp(number, inlined=old.inlined if old else frozenset(), shown=shown)

    def delete(self, name: str) -> None:
        if name in self.apps:
            self.apps[name].status = "deleting"

    def progress(self, name: str, well: bool) -> None:
        """One step of one application: a start ends, a roll goes through a mixture."""
        app = self.apps[name]
        app.shown = app.target
        router = parse_app(name) == (self.graph, "router", None)
        if app.status == "deleting":
            del self.apps[name]
        elif app.status == "unhealthy":
            app.status = "running"
        elif app.status == "deploying" and not well:
            app.status = "failed"
        elif app.status == "deploying" and router and not app.inlined <= {app.target}:
            mixed = app.inlined | {app.target}
            app.inlined = frozenset({app.target}) if mixed == app.inlined else mixed
        elif app.status == "deploying":
            app.status = "running"
            app.inlined = frozenset({app.target}) if router else frozenset()

    def observed(self) -> dict[str, App]:
        return {name: App(app.status, app.shown, "bad") for name, app in self.apps.items()}

    def answers(self, part: Part, number: int) -> bool:
        app = self.apps.get(app_name(self.graph, part, number))
        return app is not None and app.status in ("running", "unhealthy")

    def reaches(self, number: int) -> bool:
        """Whether requests can get to a revision: in the router, or by its head."""
        router = self.apps.get(router_app(self.graph))
        return (router is not None and number in router.inlined) or self.answers("head", number)


@dataclass
class World:
    """One graph, its Serve, and a controller that may die between any two actions."""

    store: Store
    remote: frozenset[int]
    grace: float
    graph: str = field(default_factory=lambda: next(NAMES))
    now: float = 1000.0
    ran: set[int] = field(default_factory=set)
    """Revisions whose head has run, or that were the first."""
    excused: set[int] = field(default_factory=set)
    """Revisions that Serve itself has lost, until they are reached again."""
    rolled: int | None = None
    """What the controller remembers of the router."""
    queue: list[Action] = field(default_factory=list)
    """What the controller has decided and not done yet."""
    busy: bool = True

    def __post_init__(self) -> None:
        self.serve = FakeServe(self.graph)
        self.add(Intent())

    def situation(self) -> Situation:
        return self.store.situation(self.graph).situation

    def add(self, intent: Intent) -> None:
        self.store.ensure_revision(self.graph, "{}", "d", intent=intent, force=True)

    @property
    def moment(self) -> Moment:
        return Moment(self.now, self.grace)

    def change(self, operation: Callable[[Situation], Change]) -> None:
        self.store.change(self.graph, operation)

    # What users do.

    def deploy(self, kind: int, percent: int) -> None:
        kinds: list[Any] = ["replace", "canary", "mirror", "rollout"]
        name = kinds[kind % 4]
        self.add(Intent(name, percent % 101, PLAN if name == "rollout" else None))

    def traffic(self, which: int, weight: int) -> None:
        up = sorted(self.situation().up)
        weights = {n: float(weight >> (3 * i) & 7) for i, n in enumerate(up) if which >> i & 1}
        self.change(lambda now: operations.split(now, self.moment, weights))

    def mirror(self, which: int, percent: int) -> None:
        up = sorted(self.situation().up) or [0]
        shares = {up[which % len(up)]: float(percent % 101)}
        self.change(lambda now: operations.mirrored(now, self.moment, shares))

    def promote(self, which: int, _: int) -> None:
        up = sorted(self.situation().up) or [0]
        number = up[which % len(up)]
        self.change(lambda now: operations.preferred(now, self.moment, number))

    def abort(self, _: int, __: int) -> None:
        self.change(lambda now: operations.aborted(now, self.moment))

    def rollback(self, _: int, __: int) -> None:
        number = self.store.previous(self.graph)
        if number is not None and number not in self.situation().coming:
            target = number
            self.change(lambda now: operations.rolled_back(now, self.moment, target))

    def step(self, _: int, __: int) -> None:
        state = self.situation().rollout
        if state is not None and state.active and state.is_last:
            number = state.revision
            self.change(lambda now: operations.promoted(now, self.moment, number))
        else:
            self.change(lambda now: operations.stepped(now, self.moment))

    def delete(self, chance: int, _: int) -> None:
        if chance % 4 == 0:
            self.change(lambda now: operations.deleted(now, self.moment))

    # What time brings.

    def wait(self, seconds: int, _: int) -> None:
        self.now += seconds % 20

    def progress(self, which: int, luck: int) -> None:
        names = sorted(self.serve.apps)
        if names:
            self.advance(names[which % len(names)], well=luck % 8 != 0)

    def advance(self, name: str, well: bool) -> None:
        _, part, number = parse_app(name) or ("", "", None)
        app = self.serve.apps[name]
        if app.status == "deploying" and not well:
            self.excused.add(app.target)
        self.serve.progress(name, well)
        if part == "head" and number is not None and self.serve.answers("head", number):
            self.ran.add(number)

    def fault(self, which: int, kind: int) -> None:
        """Serve loses an application, or its replicas, or everything."""
        names = sorted(self.serve.apps)
        if kind % 8 == 0:
            self.excused |= self.situation().up
            self.serve.apps.clear()
        elif names:
            name = names[which % len(names)]
            app = self.serve.apps[name]
            if app.status == "running":
                self.excused |= app.inlined | {app.target}
                app.status = "unhealthy" if kind % 2 else "failed"

    def die(self, _: int, __: int) -> None:
        """The controller loses all that it has in memory."""
        self.queue.clear()
        self.rolled = None

    # What the controller does.

    def act(self, _: int = 0, __: int = 0) -> None:
        if not self.queue:
            self.queue = self.decide()
            self.busy = bool(self.queue)
        if self.queue:
            self.apply(self.queue.pop(0))

    def decide(self) -> list[Action]:
        self.change(lambda now: operations.expired(now, self.moment))
        observed = self.serve.observed()
        if self.situation().state == "deleted" and not observed:
            return []  # the controller does not even see it
        router = observed.get(router_app(self.graph))
        if router is not None and router.status == "deploying" and self.rolled is not None:
            observed[router_app(self.graph)] = App("deploying", self.rolled)
        return decide(self.desired(), observed)

    def desired(self) -> Desired:
        now = self.situation()
        if now.state != "present":
            return Desired(self.graph, deleted=True)
        arms = frozenset(number for number, weight in now.weights.items() if weight > 0)
        return Desired(self.graph, now.stable, arms, now.up, now.coming, self.remote)

    def apply(self, action: Action) -> None:
        match action:
            case Start(part, number):
                self.start(part, number)
            case Delete(app):
                self.serve.delete(app)
            case Arrive(number):
                self.arrive(number)
            case Fail(number, reason):
                self.change(lambda now: operations.failed(now, self.moment, number, reason))
            case MarkDeleted():
                self.change(lambda now: operations.gone(now, self.moment))
            case Wait():
                pass

    def start(self, part: Part, number: int) -> None:
        app = self.serve.apps.get(app_name(self.graph, part, number))
        if app is not None and app.status == "deleting":
            return  # Serve would refuse; the controller tries again
        self.change(lambda now: operations.started(now, self.moment, number))
        if part == "router":
            if self.situation().stable is None:
                self.ran.add(number)
            assert number in self.ran, f"the router inlines {number}, which has never run"
            self.rolled = number
        self.serve.start(part, number)

    def arrive(self, number: int) -> None:
        now = self.situation()
        if number in now.coming:
            assert number in self.ran, f"{number} arrives, and has never run"
        self.change(lambda now: operations.arrived(now, self.moment, number))

    # What must hold.

    def check(self) -> None:
        now = self.situation()
        reached = {number for number in now.up if self.serve.reaches(number)}
        self.excused -= reached
        weighted = {number for number, weight in now.weights.items() if weight > 0}
        assert weighted <= reached | self.excused, f"{weighted} have traffic, {reached} are there"
        self.check_segments()

    def check_segments(self) -> None:
        """No router replica ever inlines what calls segments that were taken from it."""
        router = self.serve.apps.get(router_app(self.graph))
        for number in (router.inlined if router else frozenset()) & self.remote:
            app = self.serve.apps.get(app_name(self.graph, "segments", number))
            gone = app is None or app.status == "deleting"
            assert not gone or number in self.excused or router.status == "deleting", number

    def settle(self) -> None:
        """Let everything end well, and all grace periods be over."""
        for _ in range(400):
            for name in list(self.serve.apps):
                self.advance(name, well=True)
            self.act()
            self.check()
            if not self.queue and not self.busy and not self.unfinished():
                if self.now > 1e6:
                    return
                self.now = 2e6
        raise AssertionError(f"no end: {self.situation()} {self.serve.apps} {self.queue}")

    def unfinished(self) -> bool:
        return any(app.status in ("deploying", "deleting") for app in self.serve.apps.values())

    def check_end(self) -> None:
        now = self.situation()
        assert not now.coming
        expected = {router_app(self.graph)} if now.stable is not None else set()
        for number in now.up:
            if number in self.remote:
                expected.add(app_name(self.graph, "segments", number))
            if number != now.stable:
                expected.add(app_name(self.graph, "head", number))
        assert set(self.serve.apps) == expected
        assert all(app.status == "running" for app in self.serve.apps.values())
        if now.stable is not None:
            assert self.serve.apps[router_app(self.graph)].inlined == {now.stable}
            assert now.up == {now.stable} | set(now.weights) | set(now.mirrors) | self.rolled_out(
                now
            )
        assert now.state != "deleting"

    def rolled_out(self, now: Situation) -> set[int]:
        """A rollout's candidate stays up for as long as the rollout goes on."""
        return {now.rollout.revision} if now.rollout and now.rollout.active else set()


USERS = ("deploy", "traffic", "mirror", "promote", "abort", "rollback", "step", "delete")
NATURE = ("wait", "progress", "progress", "progress", "fault", "die", "act", "act", "act", "act")
commands = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(NATURE), st.sampled_from(USERS)),
        st.integers(0, 511),
        st.integers(0, 511),
    ),
    max_size=120,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("convergence")
    one = new_store(f"sqlite:///{folder / 'store.db'}")
    yield one
    one.close()


@settings(max_examples=examples(80))
@given(
    commands,
    st.frozensets(st.integers(1, 8)),
    st.sampled_from([0.0, 15.0, 100.0]),
    st.booleans(),
)
def test_traffic_finds_its_revisions_and_all_ends_as_wanted(
    store: Store, sequence: list[tuple[str, int, int]], remote: frozenset[int], grace: float,
    up_first: bool,
) -> None:  # fmt: skip
    world = World(store, remote, grace)
    while up_first and world.situation().stable is None:
        for name in list(world.serve.apps):
            world.advance(name, well=True)
        world.act()
    for command, one, other in sequence:
        with suppress(Conflict, InvalidRequest, NotFound):  # nothing has changed then
            getattr(world, command)(one, other)
        world.check()
    world.settle()
    world.check_end()
