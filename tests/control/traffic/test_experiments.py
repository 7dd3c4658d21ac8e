"""Rewards of routes in the store, and the evidence that routes differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from anabranch.control.lifecycle.significance import Observations
from anabranch.control.store.database import Database
from anabranch.control.store.schema import graphs
from anabranch.control.traffic.experiments import Experiment, Experiments
from anabranch.router.traffic.decisions import Rewarded
from tests.control.learners import outline, rewarded
from tests.control.stores import new_store

ROUTES = ("a", "b", "c")
SPLIT = outline(
    ROUTES,
    pick={"strategy": "weighted"},
    learn={"strategy": "thompson"},
)
HALF: Mapping[str, Observations] = {route: Observations(50, 25) for route in ROUTES}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    with store.database.write() as connection:
        row: dict[str, Any] = {"name": "duo", "state": "present", "created_at": 0.0}
        connection.execute(graphs.insert().values(**row))
    yield store.database
    store.close()


@pytest.fixture
def experiments(database: Database) -> Experiments:
    return Experiments(database, lambda _: lambda _: SPLIT, lambda: 7.0)


def learn(experiments: Experiments, database: Database, *counted: Rewarded) -> None:
    with database.write() as connection:
        experiments.learn(connection, "duo", counted)


def test_rewards_are_kept_by_revision_router_and_route(
    experiments: Experiments, database: Database
) -> None:
    learn(experiments, database, rewarded(0.5), rewarded(1.0), rewarded(0.0, "b"))
    learn(experiments, database, rewarded(1.0, "b"), rewarded(1.0, revision=2))
    learn(experiments, database, rewarded(1.0, "c", router="learn"))
    found = experiments.of("duo")
    assert {place: (dict(one.sums), at) for place, (one, at) in found.items()} == {
        (1, "pick"): ({"a": Observations(2, 1.5), "b": Observations(2, 1.0)}, 7.0),
        (2, "pick"): ({"a": Observations(1, 1.0)}, 7.0),
        (1, "learn"): ({"c": Observations(1, 1.0)}, 7.0),
    }


def test_a_better_route_is_found_and_an_equal_one_is_not(
    experiments: Experiments, database: Database
) -> None:
    means = {"a": 0.3, "b": 0.6, "c": 0.3}
    for _ in range(20):
        learn(
            experiments, database,
            *(rewarded(1.0 if n < 20 * mean else 0.0, route) for route, mean in means.items()
              for n in range(20)),
        )  # fmt: skip
    found, _ = experiments.of("duo")[1, "pick"]
    assert found.sums["b"] == Observations(400, 240)
    assert found.evidence.keys() == {"b", "c"}
    assert found.evidence["b"].rejects(0.01)
    assert found.evidence["b"].all.difference == pytest.approx(0.3)
    assert not found.evidence["c"].rejects(0.5)


def test_routes_that_rewards_have_chosen_are_not_compared(
    experiments: Experiments, database: Database
) -> None:
    learn(experiments, database, *(rewarded(1.0, route, router="learn") for route in ROUTES * 20))
    found, _ = experiments.of("duo")[1, "learn"]
    assert (found.sums["a"], found.evidence) == (Observations(20, 20), {})


def test_rewards_outside_0_and_1_are_counted_and_end_the_comparison() -> None:
    before = Experiment().plus(HALF, 0, ROUTES).plus(HALF, 0, ROUTES)
    after = before.plus({"a": Observations(1, 9.0)}, 1, ROUTES).plus(HALF, 0, ROUTES)
    assert (after.outside, after.sums["a"]) == (1, Observations(151, 84.0))
    assert after.evidence == before.evidence


def test_an_experiment_survives_its_text() -> None:
    found = Experiment()
    for _ in range(3):
        found = found.plus(HALF, 0, ROUTES)
        assert Experiment.from_json(found.to_json()) == found


def test_a_deleted_graph_has_none_and_gets_none(
    experiments: Experiments, database: Database
) -> None:
    learn(experiments, database, rewarded(1.0))
    experiments.drop("duo")
    assert experiments.of("duo") == {}
    with database.write() as connection:
        connection.execute(sa.update(graphs).values(state="deleting"))
    learn(experiments, database, rewarded(1.0))
    assert experiments.of("duo") == {}
