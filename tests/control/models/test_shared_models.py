"""Who may use shared models, and what their use forbids, at the control API over a real store."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anabranch.access.identity import Identity
from anabranch.access.roles import Grant
from anabranch.control.lifecycle import operations
from anabranch.control.models.checks import ModelUsed
from tests.control.control_api import TestControl

MODEL = """
apiVersion: anabranch/v1
kind: Model
metadata: {name: NAME}
spec:
  component: parts.py:Two
  inputs: {x: {datatype: FP32, shape: [-1]}}
  outputs: {score: {datatype: FP32, shape: [-1]}}
"""
WIDER = MODEL.replace("outputs: {", "outputs: {more: {datatype: FP32, shape: [-1]}, ")
USER = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: NAME}
spec:
  inputs: {x: {datatype: FP32, shape: [-1]}}
  nodes:
    scorer: {type: predictor, model: "shared://MODEL", inputs: {x: x}}
  outputs: {y: scorer.score}
"""


@pytest.fixture
def engine(tmp_path: Path) -> TestControl:
    one = TestControl(tmp_path)
    up(one, "fraud", MODEL)
    return one


def up(engine: TestControl, name: str, spec: str) -> int:
    """Deploy a revision, and have it arrive; its number."""
    status, answer = engine.deploy(name, spec=spec)
    assert status == 202, answer
    number: int = answer["revision"]
    engine.change(name, partial(operations.arrived, number=number))
    return number


def user(model: str = "fraud") -> str:
    return USER.replace("MODEL", model)


def refused(answered: tuple[int, Any], status: int) -> str:
    found, answer = answered
    assert found == status, answer
    return str(answer["error"])


def test_a_model_in_use_is_neither_deleted_nor_unloaded(engine: TestControl) -> None:
    up(engine, "pay", user())
    up(engine, "pay", user())
    up(engine, "claim", user("fraud@1"))

    said = refused(engine.call("DELETE", "/graphs/fraud"), 409)
    assert said == (
        "shared model 'fraud' cannot be deleted: it is used by claim (revision 1, which holds "
        "shared://fraud@1), pay (revision 1), pay (revision 2); delete these graphs, or deploy "
        "them without it"
    )
    status = engine.call("GET", "/graphs/fraud")[1]
    assert status["users"][0] == "claim (revision 1, which holds shared://fraud@1)"
    assert engine.call("GET", "/graphs/claim")[1]["models"] == ["shared://fraud@1"]
    assert "cannot be unloaded" in refused(engine.call("POST", "/graphs/fraud/unload"), 409)
    assert engine.call("GET", "/graphs/fraud")[1]["state"] != "deleting"


def test_users_that_the_asker_may_not_view_are_counted_by_graph(engine: TestControl) -> None:
    for name in ("pay", "theirs/pay", "theirs/claim", "theirs/claim"):
        up(engine, name, user())
    owner = Identity("key", "o", (Grant("deployer", "fraud"), Grant("viewer", "pay")))
    with engine.asked_by(owner):
        deleting = refused(engine.call("DELETE", "/graphs/fraud"), 409)
        deploying = refused(engine.deploy("fraud", spec=MODEL.replace("score:", "risk:")), 409)
        status = engine.call("GET", "/graphs/fraud")[1]
        (listed,) = engine.call("GET", "/models")[1]["models"]
    assert "used by pay (revision 1), 2 that you may not view; delete" in deleting
    assert "pay (revision 1): spec.outputs.y: 'scorer' has no output 'score'" in deploying
    assert ", 2 that you may not view; deploy" in deploying
    assert "theirs" not in deleting + deploying
    assert (status["users"], status["hidden_users"]) == (["pay (revision 1)"], 2)
    assert ([one["graph"] for one in listed["users"]], listed["hidden_users"]) == (["pay"], 2)
    unfit = refused(engine.deploy("fraud", spec=MODEL.replace("score:", "risk:")), 409)
    assert "theirs/claim (revision 1): spec.outputs.y" in unfit


def test_a_refusal_names_a_dozen_users_and_counts_the_others(engine: TestControl) -> None:
    names = [f"pay-{number:02}" for number in range(14)]
    for name in names:
        up(engine, name, user())
    said = refused(engine.call("DELETE", "/graphs/fraud"), 409)
    assert "pay-11 (revision 1), … and 2 more; delete" in said and "pay-12" not in said


def test_a_model_goes_once_its_users_have_gone(engine: TestControl) -> None:
    up(engine, "pay", user())
    assert engine.call("DELETE", "/graphs/pay")[0] == 202
    assert engine.call("DELETE", "/graphs/fraud")[0] == 202
    assert "there is no shared model 'fraud'" in refused(engine.deploy("pay", spec=user()), 400)


def test_an_unknown_model_is_refused_at_its_place_naming_the_others(engine: TestControl) -> None:
    said = refused(engine.deploy("pay", spec=user("froud")), 400)
    assert said == (
        "graph.yaml:8:31: spec.nodes.scorer.model: there is no shared model 'froud' "
        "(did you mean 'fraud'? available: fraud)"
    )


def test_an_unloaded_model_is_not_to_be_used(engine: TestControl) -> None:
    assert engine.call("POST", "/graphs/fraud/unload")[0] == 202
    assert "'fraud' is unloaded; load it" in refused(engine.deploy("pay", spec=user()), 400)


def test_a_graph_is_no_model(engine: TestControl) -> None:
    up(engine, "pay", user())
    said = refused(engine.deploy("claim", spec=user("pay")), 400)
    assert "'pay' is an inference graph, not a shared model (kind: Model)" in said


def test_a_name_is_a_graph_s_or_a_model_s(engine: TestControl) -> None:
    up(engine, "pay", user())
    said = refused(engine.deploy("pay", spec=MODEL), 409)
    assert "'pay' is an inference graph already, and cannot become a shared model" in said
    assert "'fraud' is a shared model already" in refused(engine.deploy("fraud", spec=user()), 409)


def test_only_a_revision_that_is_up_can_be_held(engine: TestControl) -> None:
    said = refused(engine.deploy("pay", spec=user("fraud@2")), 400)
    assert "has no revision 2 that is up (there are: 1)" in said


def test_a_held_revision_does_not_expire(engine: TestControl) -> None:
    up(engine, "pay", user("fraud@1"))
    up(engine, "fraud", MODEL.replace("Two", "Three"))
    models = engine.parts.reconciler._models
    assert models.pinned() == {"fraud": {1}}

    late = operations.Moment(1e12, 0.0)
    engine.change("fraud", partial(operations.expired, held=models.pinned()["fraud"]), late)
    assert engine.store.situation("fraud").situation.up == {1, 2}
    engine.change("fraud", operations.expired, late)
    assert engine.store.situation("fraud").situation.up == {2}


def test_the_caller_must_be_allowed_to_call_the_model(engine: TestControl) -> None:
    up(engine, "core/risk", MODEL)
    team = Identity("key", "team", (Grant("deployer", "team/*"),))
    both = Identity("key", "both", (Grant("deployer", "team/*"), Grant("invoker", "core/risk")))
    with engine.asked_by(team):
        said = refused(engine.deploy("team/pay", spec=user("core/risk")), 403)
    assert said == (
        "key 'team' may not call on graph 'core/risk': that takes the role invoker or deployer or "
        "operator or admin"
    )
    with engine.asked_by(both):
        assert engine.deploy("team/pay", spec=user("core/risk"))[0] == 202


def test_a_revision_that_users_do_not_fit_is_refused_naming_them(engine: TestControl) -> None:
    up(engine, "pay", user())
    up(engine, "claim", user("fraud@1"))
    renamed = MODEL.replace("score:", "risk:")
    said = refused(engine.deploy("fraud", spec=renamed), 409)
    assert said == (
        "revision 2 of shared model 'fraud' does not fit graphs that use it: pay (revision 1): "
        "spec.outputs.y: 'scorer' has no output 'score' (available: risk); deploy it under another "
        "name, or have these graphs hold the revision that they use (shared://fraud@N)"
    )
    assert engine.deploy("fraud", spec=WIDER)[0] == 202


def test_no_rollback_leads_to_a_revision_that_users_do_not_fit(engine: TestControl) -> None:
    up(engine, "fraud", WIDER)
    up(engine, "pay", user().replace("scorer.score", "scorer.more"))
    said = refused(engine.send("POST", "/graphs/fraud/rollback", {"to": 1}), 409)
    assert "pay (revision 1): spec.outputs.y: 'scorer' has no output 'more'" in said
    assert engine.call("GET", "/graphs/fraud")[1]["live"] == 2


def test_no_weight_and_no_promotion_leads_there_either(engine: TestControl) -> None:
    up(engine, "fraud", WIDER)
    up(engine, "pay", user().replace("scorer.score", "scorer.more"))
    for method, path, body in (
        ("PUT", "traffic", {"weights": {"2": 50, "1": 50}}),
        ("POST", "promote", {"revision": 1}),
    ):
        said = refused(engine.send(method, f"/graphs/fraud/{path}", body), 409)
        assert said.startswith("revision 1 of shared model 'fraud' does not fit graphs that use it")
    assert engine.call("GET", "/graphs/fraud/traffic")[1]["weights"] == {"2": 100}
    engine.send("PUT", "/graphs/fraud/traffic", {"mirrors": {"1": 50}})
    assert "does not fit" in refused(engine.send("POST", "/graphs/fraud/promote"), 409)


def test_a_revision_that_came_to_misfit_on_its_way_has_no_part(engine: TestControl) -> None:
    up(engine, "fraud", WIDER)
    assert engine.deploy("fraud", spec=MODEL)[1]["revision"] == 3
    up(engine, "pay", user().replace("scorer.score", "scorer.more"))
    arrived = partial(operations.arrived, number=3)
    with pytest.raises(ModelUsed, match=r"revision 3 .* does not fit .* pay"):
        asyncio.run(engine.parts._writer.change("fraud", arrived))
    assert engine.call("GET", "/graphs/fraud")[1]["live"] == 2


def test_a_graph_fits_every_arm_of_its_model(engine: TestControl) -> None:
    up(engine, "fraud", WIDER)
    engine.change("fraud", partial(operations.split, weights={2: 1, 1: 0}))
    more = user().replace("scorer.score", "scorer.more")
    said = refused(engine.deploy("pay", spec=more), 409)
    assert said == (
        "graph 'pay' does not fit revision 1 of shared model 'fraud', to which its calls may come: "
        "spec.outputs.y: 'scorer' has no output 'more' (did you mean 'score'? available: score); "
        "deploy a graph that fits it, hold another revision (shared://fraud@N), or end the part of "
        "revision 1 in the model's traffic first"
    )
    assert engine.deploy("pay", spec=more.replace("fraud", "fraud@2"))[0] == 202


def test_what_nobody_asked_for_names_users_of_the_model_s_namespace(engine: TestControl) -> None:
    up(engine, "pay", user())
    up(engine, "team/pay", user())
    with pytest.raises(ModelUsed) as refusal:
        asyncio.run(engine.parts._writer.change("fraud", operations.deleted))
    assert "used by pay (revision 1), 1 that you may not view; delete" in str(refusal.value)


def test_no_rollback_leads_to_a_model_that_has_gone(engine: TestControl) -> None:
    up(engine, "pay", user())
    assert engine.call("DELETE", "/graphs/pay")[0] == 202
    assert engine.call("DELETE", "/graphs/fraud")[0] == 202
    said = refused(engine.send("POST", "/graphs/pay/rollback", {"to": 1}), 404)
    assert "there is no shared model 'fraud'" in said


def test_models_are_listed_with_their_users(engine: TestControl) -> None:
    up(engine, "pay", user())
    up(engine, "claim", user("fraud@1"))
    (found,) = engine.call("GET", "/models")[1]["models"]
    assert (found["model"], found["live"], found["per_second"]) == ("fraud", 1, 0)
    assert [one["held_by"] for one in found["revisions"]] == [1]
    assert [(one["graph"], one["references"]) for one in found["users"]] == [
        ("claim", ["shared://fraud@1"]),
        ("pay", ["shared://fraud"]),
    ]
