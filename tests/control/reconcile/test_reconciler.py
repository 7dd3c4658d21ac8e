"""The reconciler over a real store; a model stands for Serve."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.decide import App, Delete, Desired
from anabranch.control.lifecycle.operations import Intent, Situation
from anabranch.control.models.checks import ModelChecks
from anabranch.control.models.shared_models import SharedModels
from anabranch.control.nodes.node import ClusterLook
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.reconcile import reconciler
from anabranch.control.reconcile.fleet import Place
from anabranch.control.reconcile.outages import Outages
from anabranch.control.reconcile.pools import Pools
from anabranch.control.reconcile.reconciler import Reconciler
from anabranch.control.reconcile.waiting import UnplacedReplicas
from anabranch.control.release.releases import Releases
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Revision
from anabranch.control.traffic.signing_keys import SigningKeys
from anabranch.control.traffic.tables import Catalogue
from anabranch.control.traffic.topics import TableTopics
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.errors import AnabranchError, DeployError
from anabranch.graph.plan.plan import Plan
from anabranch.router.table import Part, app_name, parse_app
from tests.control.stores import new_store

G = "digits"
MOST_WARM = 3
MIB = 2**20
MOST_MEMORY = 512 * MIB
SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: digits}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes: {a: {type: transformer, component: "components.py:A", inputs: {x: x}}}
  outputs: {y: a}
  traffic: {grace: 30s}
"""
MODEL = """
apiVersion: anabranch/v1
kind: Model
metadata: {name: digits}
spec:
  component: components.py:A
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  outputs: {risk: {datatype: FP32, shape: [-1]}}
"""
USER = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: pay}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes: {a: {type: predictor, model: "shared://digits", inputs: {x: x}}}
  outputs: {y: a.risk}
"""


@dataclass
class Release:
    """What it takes to run a revision, as far as this model of Serve needs to know."""

    graph: str
    revision: int
    plan: Plan


class FakeReleases(Releases):
    """Releases without bundles; ``broken`` are the revisions that cannot be made ready to run."""

    broken: frozenset[int] = frozenset()

    def release(self, revision: Revision) -> Any:
        if revision.number in self.broken:
            raise DeployError(f"no requirements for {revision.number}")
        return Release(revision.graph, revision.number, self.plan(revision))


@dataclass
class FakeServe:
    """Applications that take one look each until they run; ``bad`` names those that fail, and
    ``stuck`` those that never end.
    """

    apps: dict[str, App] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    lack: str = ""
    done: list[str] = field(default_factory=list)
    looks: int = 0

    def details(self) -> dict[str, Any]:
        self.looks += 1
        return {}

    def observe(self, applications: object) -> dict[str, dict[str, App]]:
        found = dict(self.apps)
        self.apps = {
            name: self._next(name, app) for name, app in found.items() if app.status != "deleting"
        }
        graphs: dict[str, dict[str, App]] = {}
        for name, app in found.items():
            graphs.setdefault((parse_app(name) or ("",))[0], {})[name] = app
        return graphs

    def _next(self, name: str, app: App) -> App:
        if app.status != "deploying" or name in self.stuck:
            return app
        reason = self.bad.get(name)
        return App("running" if reason is None else "failed", app.revision, reason or "")

    def start(self, part: Part, release: Release, limits: object) -> None:
        name = app_name(release.graph, part, release.revision)
        self.done.append(f"start {name} {release.revision}")
        self.apps[name] = App("deploying", release.revision, is_starting=name in self.stuck)

    def delete(self, name: str) -> None:
        self.done.append(f"delete {name}")
        self.apps[name] = App("deleting", self.apps[name].revision)

    def lacking(self, plan: Plan, there: ClusterLook) -> str:
        return "" if there.may_grow else self.lack


class FakeUnplaced(UnplacedReplicas):
    """What revisions wait for, as a test says."""

    def __init__(self) -> None:
        super().__init__(lambda: ClusterLook((), may_grow=self.may_grow))

    said: Mapping[int, str] = {}

    @property
    def counts(self) -> Mapping[Place, int]:
        return {(G, str(number), "a"): 1 for number in self.said}

    def see(self, applications: object) -> None:
        pass

    def told(self, graph: str, revision: int) -> str:
        return self.said.get(revision, "")


class Site:
    """A reconciler at work."""

    def __init__(self, folder: Path, serve: FakeServe) -> None:
        self.now = 1000.0
        self.may_act = True
        self.waiting = FakeUnplaced()
        self.memory: dict[tuple[str, int], int] = {}
        self.serve = serve
        settings = Settings.from_env(
            {
                "ANABRANCH_HOME": str(folder),
                "ANABRANCH_MAX_WARM": str(MOST_WARM),
                "ANABRANCH_MAX_WARM_MEMORY": str(MOST_MEMORY),
            }
        )
        self.store = new_store(settings.store)
        self.releases = FakeReleases(settings)
        catalogue = Catalogue(self.store, self.releases)
        topics = TableTopics(patience=0.001)
        models = SharedModels(self.store, catalogue)
        checks = ModelChecks(self.store, self.releases, models)
        self.writer = TrafficWriter(
            self.store, catalogue, topics, ArmTotals(), SigningKeys(self.store.database),
            checks.check, checks.held, 600.0, lambda: self.now,
        )  # fmt: skip
        self.reconciler = Reconciler(
            settings, self.store, self.releases, catalogue, self.writer, lambda: self.may_act,
            Pools(), self, Outages(self.store, lambda *_: (), set),
            self.waiting, models,
        )  # fmt: skip

    def taken(self) -> dict[tuple[str, int], int]:
        """The memory of revisions, in the place of ``RevisionMemory``."""
        return self.memory

    def run(self, scenario: Callable[[], Any]) -> None:
        async def whole() -> None:
            running = asyncio.create_task(self.reconciler.run())
            async with asyncio.timeout(60):
                await scenario()
            running.cancel()

        asyncio.run(whole())

    async def deploy(self, intent: Intent | None = None, spec: str = SPEC) -> int:
        wanted = intent or Intent()
        revision, _ = self.store.ensure_revision(G, spec, "d", intent=wanted, force=True)
        await self.settled()
        return revision.number

    async def settled(self) -> None:
        self.reconciler.wake()
        await self.reconciler.settled.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        while True:
            if condition():
                return
            self.reconciler.wake()
            await asyncio.sleep(0.002)

    def situation(self) -> Situation:
        return self.store.situation(G).situation

    def state(self, number: int) -> tuple[str, str]:
        found = self.store.revision(G, number)
        return found.state, found.reason

    def running(self) -> dict[str, int | None]:
        return {name: app.revision for name, app in self.serve.apps.items()}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> FakeServe:
    one = FakeServe()
    monkeypatch.setattr(reconciler, "serving", one)
    monkeypatch.setattr(reconciler, "_BUSY_PAUSE", 0.001)
    monkeypatch.setattr(reconciler, "_IDLE_PAUSE", 0.01)
    monkeypatch.setattr(reconciler, "_RETRY_PAUSE", 0.01)
    monkeypatch.setattr(reconciler, "_FIRST_RETRY", 0.02)
    return one


@pytest.fixture
def site(tmp_path: Path, serve: FakeServe) -> Iterator[Site]:
    one = Site(tmp_path, serve)
    yield one
    one.store.close()


def test_a_new_revision_takes_over_and_is_inlined(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        assert site.situation().stable == 1
        assert site.running() == {G: 1}
        await site.deploy()
        assert site.running() == {G: 2, f"{G}.r1.head": 1}

    site.run(scenario)
    assert site.serve.done == [
        "start digits 1",
        "start digits.r2.head 2",
        "start digits.r1.head 1",
        "start digits 2",
        "delete digits.r2.head",
    ]


@pytest.mark.parametrize("hangs", [False, True])
def test_a_router_that_starts_is_not_replaced_unless_it_seems_to_hang(
    site: Site, hangs: bool
) -> None:
    async def replaced_too_soon(number: int) -> bool:
        """Make another revision stable while the router of this one starts."""
        site.store.ensure_revision(G, SPEC, str(number), intent=Intent(), force=True)
        await site.until(lambda: site.situation().stable == number + 1)
        await site.until(lambda: site.serve.apps.get(f"{G}.r{number}.head") is not None)
        looks = site.serve.looks
        await site.until(lambda: site.serve.looks > looks + 20)
        return f"start digits {number + 1}" in site.serve.done

    async def scenario() -> None:
        await site.deploy()
        site.serve.apps[G] = App("deploying", 1, is_starting=True)
        site.serve.stuck.add(G)
        assert not await replaced_too_soon(1)
        newest = 2
        if hangs:
            site.reconciler._starting[G] = float("-inf")
            await site.until(lambda: "start digits 2" in site.serve.done)
            assert not await replaced_too_soon(2)  # the one before hung, not this one
            newest = 3
        site.serve.stuck.clear()
        site.serve.apps[G] = App("running", newest - 1)
        await site.settled()
        assert site.running()[G] == newest

    site.run(scenario)


def test_a_revision_of_a_model_that_users_do_not_fit_any_more_is_given_up(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy(spec=MODEL)
        site.serve.stuck.add(f"{G}.r2.segments")
        site.store.ensure_revision(G, MODEL.replace("risk", "score"), "e")
        await site.until(lambda: site.state(2)[0] == "deploying")
        site.store.ensure_revision("pay", USER, "f")
        site.serve.stuck.clear()
        await site.until(lambda: site.state(2)[0] == "failed")
        assert site.situation().stable == 1

    site.run(scenario)
    assert site.state(2)[1].startswith(
        "revision 2 of shared model 'digits' does not fit graphs that use it: pay (revision 1): "
    )


def test_a_warm_revision_goes_when_its_time_is_over_and_nobody_waits_for_that(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        await site.deploy()  # settles while the first one is warm
        assert site.state(1) == ("warm", "replaced by revision 2")
        site.now += 29.0
        await site.settled()
        assert site.state(1)[0] == "warm"
        site.now += 1.0
        await site.until(lambda: site.state(1)[0] == "retired")
        await site.settled()
        assert site.running() == {G: 2}

    site.run(scenario)


def test_the_oldest_warm_revisions_go_early_where_there_are_too_many(site: Site) -> None:
    async def scenario() -> None:
        for _ in range(MOST_WARM + 3):
            await site.deploy()
            site.now += 0.1
        warm = [n for n, member in site.situation().members.items() if member.state == "warm"]
        assert warm == [1, 2, 3, 4, 5]  # two of which wait until no router sends them anything
        site.now += operations.LINGER
        await site.until(lambda: site.state(2)[0] == "retired")
        await site.settled()
        assert sorted(site.running()) == [G, *(f"{G}.r{number}.head" for number in (3, 4, 5))]

    site.run(scenario)
    assert site.state(1) == (
        "retired",
        "replaced by revision 2; gone early: more than 3 revisions of the engine were warm",
    )
    told = [event.revision for event in site.store.events(G) if event.kind == "warm_limit"]
    assert told == [1, 2]


def test_the_oldest_warm_revisions_go_early_where_they_take_too_much_memory(site: Site) -> None:
    async def scenario() -> None:
        for _ in range(3):
            await site.deploy()
            site.now += 0.1
        site.memory = {(G, 1): 300 * MIB, (G, 2): 400 * MIB, (G, 3): 9000 * MIB}
        site.reconciler.look()
        await site.until(lambda: any(e.kind == "warm_limit" for e in site.store.events(G)))
        site.now += operations.LINGER
        await site.until(lambda: site.state(1)[0] == "retired")
        await site.settled()
        assert site.state(2)[0] == "warm"

    site.run(scenario)
    assert site.state(1)[1] == (
        "replaced by revision 2; gone early: the warm revisions of the engine took 700 MiB of"
        " memory, over the limit of 512 MiB"
    )


def test_each_try_to_bring_a_revision_up_has_its_own_time(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        await site.deploy()
        site.now += 30.0
        await site.until(lambda: site.state(1)[0] == "retired")
        site.serve.stuck.add(f"{G}.r1.head")
        await site.writer.change(G, partial(operations.redeployed, number=1))
        await site.until(lambda: (G, 1) in site.reconciler._since)
        await site.writer.change(G, partial(operations.failed, number=1, reason="given up"))
        await site.settled()
        assert site.reconciler._since == {}

    site.run(scenario)


def test_retries_of_what_nobody_wants_any_more_are_forgotten(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        site.reconciler._retries["digits.r9.head", 9] = (time.monotonic() - 1000.0, 1.0)
        await site.settled()
        assert site.reconciler._retries == {}

    site.run(scenario)


def test_slow_installs_leave_threads_to_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    installing, done = 0, threading.Event()

    def slow(revision: Revision) -> Any:
        nonlocal installing
        installing += 1
        done.wait(10)
        return Release(revision.graph, revision.number, site.releases.plan(revision))

    monkeypatch.setattr(site.releases, "release", slow)

    async def scenario() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(10))
        for number in range(20):
            site.store.ensure_revision(f"g{number}", SPEC, "d")
        await site.until(lambda: installing == 8)
        await site.until(
            lambda: all(one.situation.members[1].state == "deploying"
                        for one in site.store.situations())
        )  # fmt: skip
        assert installing == 8
        done.set()
        await site.settled()
        assert len(site.running()) == 20

    site.run(scenario)


def test_who_lost_the_lease_in_the_middle_stops_there(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        site.may_act = False
        before = list(site.serve.done)
        await site.reconciler._act(Desired(G), [Delete(G)])
        assert site.serve.done == before

    site.run(scenario)


def test_canaries_and_mirrors_stay_beside_the_stable_one(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        await site.deploy(Intent("canary", 10.0))
        await site.deploy(Intent("mirror", 50.0))
        assert site.running() == {G: 1, f"{G}.r2.head": 2, f"{G}.r3.head": 3}
        assert site.situation().weights == {1: 90.0, 2: 10.0}
        assert site.situation().mirrors == {3: 50.0}

    site.run(scenario)


def test_a_revision_that_fails_says_which_nodes_it_was(site: Site) -> None:
    site.serve.bad[f"{G}.r2.head"] = "segment 'head': it died"

    async def scenario() -> None:
        await site.deploy()
        await site.deploy()
        assert site.state(2) == ("failed", "segment 'head' (nodes a): it died")
        assert site.situation().stable == 1
        assert site.running() == {G: 1}

    site.run(scenario)


@pytest.mark.parametrize("case", ["broken", "lacking"])
def test_a_revision_that_cannot_even_be_started_has_failed(site: Site, case: str) -> None:
    async def scenario() -> None:
        await site.deploy()
        site.releases.broken = frozenset({2} if case == "broken" else ())
        site.serve.lack = "no GPU" if case == "lacking" else ""
        await site.deploy()
        expected = "no requirements for 2" if case == "broken" else "no GPU"
        assert site.state(2) == ("failed", expected)
        assert site.running() == {G: 1}

    site.run(scenario)


def test_a_revision_has_its_time_and_no_longer_also_after_a_restart(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        site.reconciler._deploy_timeout = 0.05
        site.store.ensure_revision(G, SPEC, "d", force=True)
        await site.writer.change(G, partial(operations.started, number=2))
        site.serve.stuck.add(f"{G}.r2.head")
        site.serve.apps[f"{G}.r2.head"] = App("deploying", 2)  # by a controller before this one
        await site.until(lambda: site.state(2)[0] == "failed")
        assert "was not healthy in time" in site.state(2)[1]

    site.run(scenario)


def test_what_fails_of_a_revision_that_is_up_is_tried_again_and_holds_up_nothing(
    site: Site,
) -> None:
    head = f"{G}.r2.head"

    async def scenario() -> None:
        await site.deploy()
        await site.deploy(Intent("canary", 10.0))
        site.serve.bad[head] = "out of memory"
        site.serve.apps[head] = App("failed", 2, "out of memory")
        site.serve.done.clear()
        del site.serve.apps[G]
        await site.until(lambda: site.running().get(G) == 1)
        await site.until(lambda: site.serve.done.count(f"start {head} 2") >= 3)
        site.serve.bad.clear()
        await site.until(lambda: site.serve.apps[head].status == "running")
        assert site.state(2)[0] == "ready"

    site.run(scenario)


def test_a_start_that_raises_is_logged_and_tried_again(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        site.releases.broken = frozenset({1})
        del site.serve.apps[G]
        await site.until(lambda: "start_failed" in [e.kind for e in site.store.events(G)])
        site.releases.broken = frozenset()
        await site.until(lambda: site.running() == {G: 1})

    site.run(scenario)


def test_an_unloaded_graph_goes_router_first_and_comes_back_as_it_was(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        await site.deploy(Intent("canary", 10.0))
        before = site.running()
        site.serve.done.clear()
        await site.writer.change(G, operations.unloaded)
        await site.settled()
        assert site.serve.done[0] == "delete digits"
        assert site.serve.apps == {}
        assert site.situation().state == "unloaded"
        await site.writer.change(G, operations.loaded)
        await site.until(lambda: site.running() == before)
        await site.settled()

    site.run(scenario)


def test_a_deleted_graph_is_marked_when_all_of_it_is_gone(site: Site) -> None:
    async def scenario() -> None:
        await site.deploy()
        await site.deploy(Intent("canary", 10.0))
        site.serve.done.clear()
        await site.writer.change(G, operations.deleted)
        await site.until(lambda: site.situation().state == "deleted")
        await site.settled()

    site.run(scenario)
    assert site.serve.done == ["delete digits", "delete digits.r2.head"]
    assert site.serve.apps == {}


def test_applications_that_the_store_does_not_know_go(site: Site) -> None:
    async def scenario() -> None:
        site.serve.apps["stray.r4.head"] = App("running", 4)
        await site.until(lambda: not site.serve.apps)
        await site.settled()

    site.run(scenario)
    assert site.store.situations() == []


def test_without_the_lease_it_does_not_even_look(site: Site) -> None:
    async def scenario() -> None:
        site.may_act = False
        await site.deploy()
        assert site.serve.looks == 0
        site.may_act = True
        await site.until(lambda: site.running() == {G: 1})

    site.run(scenario)


def test_a_tick_that_fails_is_not_the_last(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        real = site.serve.details
        broken = iter([AnabranchError("Serve is away"), OSError("so is the disk")])

        def details() -> dict[str, Any]:
            for error in broken:
                raise error
            return real()

        monkeypatch.setattr(site.serve, "details", details)
        await site.deploy()
        await site.until(lambda: site.situation().stable == 1)

    site.run(scenario)


H100 = "waits for 1 GPU of type H100 for segment 'a': no machine has it"


def kinds(site: Site) -> list[str]:
    return [event.kind for event in site.store.events(G)]


def test_a_revision_waits_for_machines_where_some_may_come_and_says_for_what(site: Site) -> None:
    async def scenario() -> None:
        site.waiting.may_grow, site.serve.lack = True, "no machine has it"
        site.serve.stuck.add(G)
        site.store.ensure_revision(G, SPEC, "d", force=True)
        await site.until(lambda: site.state(1)[0] == "deploying")
        site.waiting.said = {1: H100}
        await site.until(lambda: site.state(1) == ("deploying", H100))
        site.reconciler._deploy_timeout = 0.0
        looks = site.serve.looks
        await site.until(lambda: site.serve.looks > looks + 3)
        assert site.state(1) == ("deploying", H100)  # its time does not run
        site.reconciler._deploy_timeout = 600.0
        site.waiting.said = {}
        await site.until(lambda: site.state(1) == ("deploying", ""))
        site.serve.stuck.clear()
        await site.settled()

    site.run(scenario)
    assert site.state(1) == ("live", "")
    told = [kind for kind in kinds(site) if kind.startswith("deploy_")]
    assert told == ["deploy_started", "deploy_waits", "deploy_resumed"]


def test_a_graph_is_starting_while_it_has_all_the_room_that_it_needs(site: Site) -> None:
    async def scenario() -> None:
        site.waiting.may_grow = True
        site.serve.stuck.add(G)
        assert site.reconciler.starting is None
        site.store.ensure_revision(G, SPEC, "d", force=True)
        await site.until(lambda: site.state(1)[0] == "deploying")
        await site.until(lambda: site.reconciler.starting == {G})
        site.waiting.said = {1: H100}
        await site.until(lambda: site.reconciler.starting == set())
        site.waiting.said = {}
        await site.until(lambda: site.reconciler.starting == {G})
        site.serve.stuck.clear()
        await site.settled()
        assert site.reconciler.starting == set()

    site.run(scenario)


def test_a_revision_that_no_machine_can_run_fails_where_none_will_come(site: Site) -> None:
    async def scenario() -> None:
        site.serve.lack = "segment 'a' asks for 1 GPU, which no machine has"
        await site.deploy()

    site.run(scenario)
    assert site.state(1) == ("failed", "segment 'a' asks for 1 GPU, which no machine has")


def test_a_revision_that_has_had_its_time_says_what_it_waited_for(site: Site) -> None:
    async def scenario() -> None:
        site.serve.stuck.add(G)
        site.waiting.said = {1: H100}
        site.reconciler._deploy_timeout = 0.0
        await site.deploy()

    site.run(scenario)
    state, reason = site.state(1)
    assert state == "failed"
    assert reason.startswith("it was not healthy in time; still waiting for ")
    assert "; it waits for 1 GPU of type H100 for segment 'a'" in reason
