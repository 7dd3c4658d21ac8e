"""What pools are to carry, across controllers and processes that come and go."""

from __future__ import annotations

import asyncio
from typing import Any

from anabranch.control.lifecycle.decide import App, Desired, Start, decide
from anabranch.control.reconcile import serving
from anabranch.control.reconcile.pools import Pools
from anabranch.control.release.release import Release
from anabranch.graph.plan.plan import Plan, Segment
from anabranch.router.limits import RequestLimits
from anabranch.serve.pools.entries import PoolTable, TenantState, pool_app

LIMITS = RequestLimits()


def release(graph: str, revision: int = 1) -> Release:
    plan = Plan(graph, {}, {}, {}, {}, (Segment("head", ()),), 0, 1.0, pool="small")
    return Release(graph, revision, "graph.yaml", plan, {}, "/bundles/x.zip")


def applications(*pools: str, state: str = "RUNNING") -> dict[str, Any]:
    """Serve's details of pools whose one replica is in a state."""
    replica = {"replica_id": "r", "state": state}
    deployments = {"pool": {"status": "HEALTHY", "message": "", "replicas": [replica]}}
    app = {"status": "RUNNING", "message": "", "deployments": deployments}
    return {pool_app(name): app for name in pools}


def nowhere(graph: str) -> str | None:
    return None


async def table(pools: Pools, pool: str = "small") -> PoolTable:
    found = await pools.table(pool, "r", 0)
    assert found is not None
    return found


def told(pools: Pools, found: PoolTable, status: Any, reason: str = "") -> None:
    pools.take("small", "r", {g: TenantState(e, status, reason) for g, e in found.tenants.items()})


def seen(pools: Pools, graph: str, **details: Any) -> Any:
    shown = pools.applications(applications("small", **details), lambda graph: "small")
    return serving.observe(shown).get(graph, {}).get(graph)


def test_a_graph_is_deploying_until_its_pool_says_that_it_runs_or_failed() -> None:
    async def scenario() -> None:
        pools = Pools()
        pools.see({})
        pools.assign("small", release("a"), LIMITS)
        assert list(pools.wanted({})) == ["small"]
        pools.see(applications("small"))
        assert list(pools.wanted(applications("small"))) == []
        assert (seen(pools, "a").status, seen(pools, "a").revision) == ("deploying", 1)
        told(pools, await table(pools), "running")
        assert seen(pools, "a").status == "running"
        assert seen(pools, "a", state="STARTING").status == "deploying"
        pools.assign("small", release("a", 2), LIMITS)
        assert (seen(pools, "a").status, seen(pools, "a").revision) == ("deploying", 2)
        told(pools, await table(pools), "failed", "node 'x': no")
        assert (seen(pools, "a").status, seen(pools, "a").reason) == ("failed", "node 'x': no")

    asyncio.run(scenario())


def test_a_graph_that_starts_in_a_pool_or_waits_for_its_process_may_be_moved_on() -> None:
    async def scenario() -> None:
        pools = Pools()
        pools.see({})
        pools.assign("small", release("a"), LIMITS)
        pools.see(applications("small"))
        starting = seen(pools, "a")
        told(pools, await table(pools), "running")
        lost = seen(pools, "a", state="STARTING")
        stable = Desired("a", stable=2, arms=frozenset({2}), up=frozenset({2}))
        for router in (starting, lost):
            assert (router.status, router.revision) == ("deploying", 1)
            observed = {"a": router, "a.r2.head": App("running", 2)}
            assert decide(stable, observed) == [Start("router", 2)]

    asyncio.run(scenario())


def test_a_graph_that_leaves_is_gone_and_an_empty_pool_ends() -> None:
    async def scenario() -> None:
        pools = Pools()
        pools.see({})
        pools.assign("small", release("a"), LIMITS)
        pools.see(applications("small"))
        told(pools, await table(pools), "running")
        pools.remove("a")
        assert seen(pools, "a") is None
        assert list(pools.idle(applications("small"))) == []  # it still carries the graph
        pools.take("small", "r", {})
        assert list(pools.idle(applications("small"))) == [pool_app("small")]

    asyncio.run(scenario())


def test_pools_of_two_namespaces_are_two_applications() -> None:
    pools = Pools()
    pools.see({})
    for name, graph in (("light", "a"), ("team/light", "team/a"), ("other/light", "other/a")):
        pools.assign(name, release(graph), LIMITS)
    assert sorted(pools.wanted({})) == ["light", "other/light", "team/light"]
    assert list(pools.wanted(applications("team/light"))) == ["light", "other/light"]
    assert pools.applications({}, {}.get).keys() == {"a", "team_a", "other_a"}
    again = Pools()
    again.see(applications("team/light"))
    assert (again.is_known("team/light"), again.is_known("light")) == (False, True)


def test_a_new_controller_hears_from_the_process_what_it_carries() -> None:
    async def scenario() -> None:
        former = Pools()
        former.see({})
        former.assign("small", release("a"), LIMITS)
        held = await table(former)
        pools = Pools()
        pools.see(applications("small"))
        assert not pools.is_known("small")
        assert pools.is_known(None)
        poll = asyncio.ensure_future(pools.table("small", "r", held.version))
        await asyncio.sleep(0)
        assert not poll.done()
        told(pools, held, "running")
        found = await poll
        assert found is not None
        assert found.tenants == held.tenants
        assert found.version > held.version
        assert pools.is_known("small")
        assert seen(pools, "a").status == "running"

    asyncio.run(scenario())


def test_a_pool_that_does_not_run_carries_nothing() -> None:
    pools = Pools()
    pools.take("small", "r", {})
    pools.see({})
    assert pools.is_known("small")
    assert pools.homes("a") == []
    assert list(pools.wanted({})) == []


def test_of_several_homes_the_wanted_one_is_shown_and_the_others_can_be_left() -> None:
    pools = Pools()
    pools.see({})
    pools.assign("small", release("a", 1), LIMITS)
    pools.assign("large", release("a", 2), LIMITS)
    own = {"a": {"status": "RUNNING", "message": "", "deployments": {"router": {"message": ""}}}}

    def revision(wanted: str | None) -> int | None:
        found = serving.observe(pools.applications(own, lambda graph: wanted))["a"]["a"]
        return found.revision

    assert [revision("small"), revision("large"), revision(None)] == [1, 2, None]
    pools.remove("a", but="large")
    assert pools.homes("a") == ["large"]


def test_who_watches_hears_of_each_change() -> None:
    heard: list[str] = []
    pools = Pools()
    pools.watch(lambda: heard.append("changed"))
    pools.see({})
    pools.assign("small", release("a"), LIMITS)
    pools.take("small", "r", {})
    pools.remove("a")
    assert len(heard) == 3


def test_a_process_that_another_has_replaced_is_not_heard() -> None:
    async def scenario() -> None:
        pools = Pools()
        pools.see({})
        pools.assign("small", release("a"), LIMITS)
        pools.see(applications("small"))
        told(pools, await table(pools), "running")
        pools.take("small", "former", {})
        assert seen(pools, "a").status == "running"

    asyncio.run(scenario())
