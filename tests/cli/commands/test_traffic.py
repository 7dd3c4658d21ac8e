"""The commands that move traffic, against the real control API over HTTP."""

from __future__ import annotations

import json
import threading
from functools import partial

import pytest

from anabranch.control.lifecycle import operations
from anabranch.errors import Conflict, DeployError, EngineError, InvalidRequest, NotFound
from anabranch.router.measure.tally import MirrorTally, Report
from tests.control.control_api import ROLLOUT, SPEC


def test_a_deploy_says_what_it_has_come_to(engine):
    done = engine.run("deploy", engine.file())
    assert done.stdout == "digits revision 1 is live\n"
    assert "next:" not in done.stderr


def test_a_canary_says_its_share_and_what_comes_next(engine):
    engine.text("deploy", engine.file())
    done = engine.run("deploy", engine.file(), "--force", "--canary", "12.5", "-m", "try it")
    assert done.stdout == "digits revision 2 is ready with 12.5 % of the traffic\n"
    assert "`anabranch promote digits r2` or `anabranch abort digits`" in done.stderr
    assert engine.json("traffic", "digits")["weights"] == {"1": 87.5, "2": 12.5}
    assert engine.store.revision("digits", 2).message == "try it"


def test_a_mirror_says_its_share_and_where_to_look(engine):
    engine.text("deploy", engine.file())
    done = engine.run("deploy", engine.file(), "--force", "--mirror", "25")
    assert done.stdout == "digits revision 2 is ready and gets a copy of 25 % of the requests\n"
    assert "`anabranch compare digits`" in done.stderr
    assert "`anabranch traffic digits --mirror r2=0`" in done.stderr


def test_a_rollout_says_its_step(engine):
    engine.text("deploy", engine.file())
    done = engine.run("deploy", engine.file(SPEC + ROLLOUT))
    expected = "digits revision 2 is ready in a rollout, step 1 of 3: 5 % of the traffic\n"
    assert done.stdout == expected
    assert "`anabranch status digits --watch`" in done.stderr


def test_options_stand_in_for_the_block(engine):
    engine.text("deploy", engine.file())
    file = engine.file(SPEC + ROLLOUT)
    engine.text("deploy", file, "--rollout", "1,2", "--hold", "3s")
    plan = engine.json("rollout", "digits")["plan"]
    assert (plan["steps"], plan["hold"]) == ([1, 2], "3s")
    assert plan["analysis"]["interval"] == "10s"
    assert engine.text("deploy", file, "--now", "--force") == "digits revision 3 is live\n"


def test_a_deploy_as_json(engine):
    found = engine.json("deploy", engine.file())
    bundle = found.pop("bundle")
    assert found == {"graph": "digits", "revision": 1, "state": "live", "new": True}
    assert bundle["digest"] == engine.store.revision("digits", 1).digest
    assert bundle["files"] == len(bundle["largest"]) == 2
    assert bundle["bytes"] == sum(bundle["largest"].values())
    assert bundle["warnings"] == []
    found = engine.json("deploy", engine.file(), "--canary", "5", "--force")
    del found["bundle"]
    assert found == {"graph": "digits", "revision": 2, "state": "ready", "new": True}


def test_a_deploy_of_what_runs_already_changes_nothing(engine):
    """Not even the share of a canary; what was replaced is deployed anew."""
    engine.text("deploy", engine.file())
    done = engine.run("deploy", engine.file(), "--canary", "50")
    assert done.stdout == "digits revision 1 is this already, and live\n"
    assert "`--force` makes a new revision" in done.stderr
    changed = SPEC + ROLLOUT
    engine.text("deploy", engine.file(changed), "--canary", "5")
    before = engine.json("traffic", "digits")
    done = engine.run("deploy", engine.file(changed), "--now")
    already = "digits revision 2 is this already, and ready with 5 % of the traffic\n"
    assert done.stdout == already
    assert "`anabranch promote digits r2`" in done.stderr
    assert engine.text("deploy", engine.file(changed), "--wait-rollout", "--no-wait") == already
    found = engine.json("deploy", engine.file())
    assert (found["revision"], found["new"]) == (1, False)
    assert engine.json("traffic", "digits") == before
    engine.text("promote", "digits")
    assert engine.text("deploy", engine.file(), "--now") == "digits revision 3 is live\n"


def test_a_deploy_that_nobody_waits_for(engine):
    done = engine.run("deploy", engine.file(), "--no-wait")
    assert done.stdout == "digits revision 1 is pending\n"


def test_a_deploy_that_fails_gives_the_reason(engine):
    engine.failure = "node 'two': no such file"
    with pytest.raises(DeployError, match="digits revision 1 failed: node 'two': no such file"):
        engine.text("deploy", engine.file())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--canary", "nan"), "nan"),
        (("--canary", "101"), "101"),
        (("--mirror", "-5"), "-5"),
        (("--rollout", "50,25"), "50,25"),
        (("--hold", "2x"), "2x"),
        (("--hold", "2m"), "--rollout"),
        (("--canary", "5", "--mirror", "5"), "only one of"),
        (("--canary", "5", "--now"), "only one of"),
    ],
)
def test_wrong_options_of_deploy(engine, options, named):
    done = engine.run("deploy", engine.file(), *options)
    assert done.exit_code == 2
    assert named in done.stderr
    assert engine.store.situations() == []


@pytest.fixture
def two(engine):
    """Revision 1 is warm, 2 is live."""
    engine.up(2)
    return engine


def test_traffic_is_shown(two):
    text = two.text("traffic", "digits")
    assert text.startswith("ARM  WEIGHT  TRAFFIC")
    assert "r2   100     " + "█" * 20 + "  100 %" in text


def test_traffic_is_set(two):
    done = two.run("traffic", "digits", "r2=3", "1=1")
    assert done.exit_code == 0, done.output
    assert "r1   1       █████" in done.stdout
    assert "75 %" in done.stdout
    assert "no router" in done.stderr
    assert two.store.situation("digits").situation.weights == {1: 1, 2: 3}


def test_mirrors_are_set(two):
    found = two.json("traffic", "digits", "--mirror", "r1=2.5")
    assert found["mirrors"] == {"1": 2.5}
    assert found["weights"] == {"2": 100}
    assert "MIRROR  COPIES\nr1      2.5 %" in two.text("traffic", "digits")
    two.text("traffic", "digits", "r2=1", "--mirror", "r1=0")
    assert two.store.situation("digits").situation.mirrors == {}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("r1=nan",), "nan"),
        (("r1=1", "1=2"), "twice"),
        (("one=1",), "'one'"),
        (("r1",), "REVISION=NUMBER"),
        (("--mirror", "r1=101"), "101"),
    ],
)
def test_traffic_that_makes_no_sense_is_wrong_usage(two, arguments, named):
    done = two.run("traffic", "digits", *arguments)
    assert done.exit_code == 2
    assert named in done.stderr
    assert two.store.situation("digits").situation.weights == {2: 100}


def test_what_the_engine_refuses_is_in_its_words(two):
    with pytest.raises(InvalidRequest, match="sum"):
        two.text("traffic", "digits", "r1=0", "r2=0")
    with pytest.raises(NotFound, match="up are: r1"):
        two.text("traffic", "digits", "r9=1", "--yes")
    with pytest.raises(Conflict, match="no one candidate"):
        two.text("promote", "digits")
    with pytest.raises(Conflict, match="nothing to abort"):
        two.text("abort", "digits")
    with pytest.raises(NotFound, match="no rollout"):
        two.text("rollout", "digits")


def test_promote(two):
    two.text("deploy", two.file(), "--canary", "5")
    assert two.text("promote", "digits") == "digits revision 3 is live, with all traffic\n"
    assert two.json("promote", "digits", "r1")["live"] == 1


def test_abort(two):
    two.text("deploy", two.file(), "--canary", "5")
    assert two.text("abort", "digits") == "digits revision 2 has all traffic again\n"


def test_rollback_at_once(two):
    assert two.text("rollback", "digits") == "digits revision 1 is live\n"
    found = two.json("rollback", "digits", "--to", "r2")
    assert (found["revision"], found["state"], found["live"]) == (2, "live", 2)


def test_rollback_to_what_is_down_waits_until_it_is_up(two):
    two.expire()
    done = two.run("rollback", "digits", "--to", "1")
    assert done.stdout == "digits revision 1 is live\n"
    assert "bringing it up again" in done.stderr
    two.expire()
    found = two.json("rollback", "digits", "--to", "2", "--no-wait")
    assert (found["revision"], found["state"]) == (2, "pending")
    two.expire()
    found = two.json("rollback", "digits", "--to", "1")
    assert (found["revision"], found["state"], found["live"]) == (1, "live", 1)


def test_rollback_with_a_candidate_asks_what_is_meant(two):
    two.text("deploy", two.file(), "--canary", "5")
    with pytest.raises(Conflict, match="`abort` takes it out"):
        two.text("rollback", "digits")


def test_rollout(two):
    two.text("deploy", two.file(SPEC + ROLLOUT))
    text = two.text("rollout", "digits")
    assert text.startswith("rollout of r3: running, step 1 of 3: 5 %")
    assert "judged by error_rate <= 0.01" in text
    done = two.run("rollout", "digits", "pause")
    assert "rollout of r3: paused (user)" in done.stdout
    assert "`anabranch rollout digits resume`" in done.stderr
    assert two.json("rollout", "digits", "resume")["phase"] == "running"
    assert "promoted" in two.text("rollout", "digits", "promote", "--full")
    with pytest.raises(Conflict, match="over"):
        two.text("rollout", "digits", "abort")
    assert two.run("rollout", "digits", "hurry").exit_code == 2


@pytest.mark.parametrize("command", [("promote", "digits"), ("rollout", "digits", "promote")])
def test_promote_in_a_rollout_asks_and_says_what_it_skips(two, monkeypatch, command):
    two.text("deploy", two.file(SPEC + ROLLOUT))
    done = two.run(*command)
    assert done.exit_code == 2
    assert "`anabranch rollout digits resume` goes one step on, and --full promotes" in done.stderr
    monkeypatch.setattr("anabranch.cli.terminal.is_terminal", lambda: True)
    done = two.run(*command, answers="n\n")
    assert done.exit_code == 1
    assert "step 1 of 3; a promotion now skips 2 remaining steps and its analysis" in done.stderr
    assert two.json("rollout", "digits")["phase"] == "running"
    assert two.run(*command, answers="y\n").exit_code == 0
    assert two.json("rollout", "digits")["phase"] == "promoted"


def test_resume_goes_one_step_on(two):
    steps_alone = SPEC + "  rollout:\n    steps: [5, 25, 50]\n"
    two.text("deploy", two.file(steps_alone))
    two.change("digits", partial(operations.paused, by="step", reason="waits"))
    assert two.json("rollout", "digits", "resume")["phase"] == "running"
    two.change("digits", operations.stepped)
    state = two.json("rollout", "digits")
    assert (state["step"], state["weight"]) == (2, 25)


def test_traffic_that_takes_all_from_the_stable_revision_asks(two, monkeypatch):
    for weights in (("r1=1",), ("r1=1", "r2=0")):
        done = two.run("traffic", "digits", *weights)
        assert done.exit_code == 2
        assert "--yes goes ahead (the stable revision r2 of digits gets no more" in done.stderr
    assert two.store.situation("digits").situation.weights == {2: 100}
    monkeypatch.setattr("anabranch.cli.terminal.is_terminal", lambda: True)
    assert two.run("traffic", "digits", "r1=1", answers="n\n").exit_code == 1
    assert two.store.situation("digits").situation.weights == {2: 100}
    assert two.run("traffic", "digits", "r1=1", answers="y\n").exit_code == 0
    assert two.store.situation("digits").situation.weights == {1: 1, 2: 0}
    two.text("traffic", "digits", "r1=2", "--yes")
    assert two.store.situation("digits").situation.weights == {1: 2, 2: 0}


def test_the_end_of_a_rollout_is_waited_for(two):
    """Whether it goes well is the exit code."""
    two.text("deploy", two.file(SPEC + ROLLOUT))
    with pytest.raises(EngineError, match="is not over after 1 s, in step 1 of 3"):
        two.text("rollout", "digits", "--wait", "--timeout", "1s")
    done = two.run("rollout", "digits", "promote", "--full", "--wait")
    assert (done.exit_code, "promoted" in done.stdout) == (0, True)
    two.text("deploy", two.file(SPEC + ROLLOUT), "--force")
    with pytest.raises(DeployError, match="the rollout of digits revision 4 was aborted"):
        two.text("rollout", "digits", "abort", "--wait")


def test_deploying_waits_for_the_rollout_if_there_is_one(two):
    """Somebody else promotes it once it says that it waits."""
    assert "r3" in two.text("deploy", two.file(), "--wait-rollout").replace("revision 3", "r3")
    stop, begun = threading.Event(), threading.Event()

    def promote() -> None:
        while not stop.wait(0.01):
            now = two.store.situation("digits").situation
            if now.rollout is not None and now.rollout.active:
                begun.set()
                two.change("digits", partial(operations.preferred, number=now.rollout.revision))

    thread = threading.Thread(target=promote)
    thread.start()
    try:
        done = two.json("deploy", two.file(SPEC + ROLLOUT), "--wait-rollout")
    finally:
        stop.set()
        thread.join()
    assert begun.is_set()
    assert (done["graph"], done["revision"], done["state"]) == ("digits", 4, "live")


def test_leaving_a_deploy_says_that_it_goes_on(two, monkeypatch, capsys):
    from pathlib import Path

    from anabranch.cli.commands.deploy import deploy_and_wait
    from anabranch.client.client import ControlClient

    def leave(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ControlClient, "wait", leave)
    monkeypatch.setattr(two, "reconcile", lambda: None)
    with ControlClient.of_home(two.home) as client:
        for name, stop in (("digits", "rollback digits --to r2"), ("first", "delete first")):
            with pytest.raises(KeyboardInterrupt):
                deploy_and_wait(client, Path(two.file(name=name)), two.home, 30, print)
            said = capsys.readouterr().err
            assert f"the deploy of {name} revision" in said and f"`anabranch {stop}`" in said


def test_compare(two):
    assert "no mirrors" in two.text("compare", "digits")
    two.text("deploy", two.file(), "--mirror", "100")
    tally = MirrorTally(selected=8, sent=7, dropped=1, compared=4, agreed=3, close=1, errors=1)
    tally.kinds["NodeError"] = 1
    tally.latency.add(0.3)
    tally.primary.add(0.1)
    two.totals.take("digits", "router", Report(mirrors={3: tally}))
    text = two.text("compare", "digits")
    assert (
        "r3      100 %   8         7     1        4         75 %       1      1       20 %" in text
    )
    assert "difference" in text
    assert "errors of r3: 1 NodeError" in text
    assert two.json("compare", "digits")["mirrors"][0]["agreed"] == 3


def test_history(two):
    lines = two.text("history", "digits").splitlines()
    assert lines[0].split() == ["REVISION", "STATE", "DEPLOYED", "AUTHOR", "DIGEST", "MESSAGE"]
    assert [line.split()[:2] for line in lines[1:]] == [["r2", "live"], ["r1", "warm"]]
    assert len(two.text("history", "digits", "-n", "1").splitlines()) == 2
    found = two.json("history", "digits")
    assert [one["revision"] for one in found["revisions"]] == [2, 1]


def test_diff(engine):
    engine.text("deploy", engine.file())
    changed = SPEC.replace("placement: {isolate: true}", "idempotent: true")
    engine.text("deploy", engine.file(changed))
    text = engine.text("diff", "digits", "1", "r2")
    assert text.startswith("digits r1 -> r2\nspec:\n  ~ node two: idempotent, placement\nplan:\n")
    assert "  - segment two\n" in text
    assert "  ~ segment head: nodes\n" in text
    assert "  ~ critical_path_hops: 1 -> 0\n" in text
    assert "files:\n  ~ graph.yaml\n" in text
    assert "\n--- r1\n+++ r2\n" in text
    same = engine.json("diff", "digits", "1", "1")
    assert (same["spec"], same["plan"], same["files"], same["text"]) == ([], [], [], "")
    assert engine.text("diff", "digits", "1", "1").count("no change") == 3
    with pytest.raises(NotFound, match="no revision 9"):
        engine.text("diff", "digits", "1", "9")


def test_status_draws_arms_mirrors_and_the_rollout(two):
    two.text("deploy", two.file(SPEC + ROLLOUT))
    two.text("traffic", "digits", "--mirror", "r1=10")
    text = two.text("status", "digits")
    assert "r2   live   ███████████████████░  95 %" in text
    assert "r3   ready  █░░░░░░░░░░░░░░░░░░░  5 %" in text
    assert "r1      ready  10 %" in text
    assert "rollout of r3: running, step 1 of 3: 5 %" in text
    assert "REVISION  STATE" in text
    found = two.json("status", "digits")
    assert [arm["revision"] for arm in found["arms"]] == [2, 3]


def test_status_shows_a_rollout_that_is_over_while_its_candidate_is_up(two):
    two.text("deploy", two.file(SPEC + ROLLOUT))
    two.text("rollout", "digits", "abort")
    assert "rollout of r3: aborted" in two.text("status", "digits")
    two.expire()
    assert "rollout of" not in two.text("status", "digits")
    two.text("deploy", two.file(SPEC + ROLLOUT))
    two.text("promote", "digits", "--full")
    assert "rollout of" not in two.text("status", "digits")


def test_status_lists_graphs(two):
    assert two.text("status").startswith("GRAPH   REVISION  STATE")
    assert json.loads(two.text("status", "-o", "json"))["graphs"][0]["live"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --reward, --truth or both"),
        (("--reward", "nan"), "must be a finite number"),
        (("--reward", "inf"), "must be a finite number"),
        (("--reward", "good"), "valid number"),
    ],
)
def test_feedback_wants_a_reward_or_the_truth(engine, options, message):
    done = engine.run("feedback", "digits", "7f", *options)
    assert done.exit_code == 2
    assert message in done.output


def test_status_shows_namespaces_with_a_quota(two):
    assert "NAMESPACE" not in two.text("status")
    policy = b"namespaces: {default: {graphs: 3}, team: {gpu: 0}}"
    assert two.call("PUT", "/access", body=policy)[0] == 200
    *_, head, own, team = two.text("status").splitlines()
    assert head.split() == ["NAMESPACE", "GRAPHS", "REPLICAS", "CPU", "GPU", "MEMORY"]
    assert own.startswith("default    1 of 3") and team.startswith("team       0 ")
    assert two.json("status")["namespaces"][1]["limits"] == {"gpu": 0}


def test_a_graph_of_a_namespace_is_named_whole(two):
    assert "team/digits revision 1 is live" in two.text("deploy", two.file(name="team/digits"))
    assert two.text("status", "team/digits").startswith("team/digits is ")
    assert "r1" in two.text("history", "team/digits")
    assert "revision_created" in two.text("events", "team/digits")
    assert two.json("traffic", "team/digits")["graph"] == "team/digits"
    two.text("delete", "team/digits", "--yes", "--no-wait")
    assert two.json("status", "digits")["live"] == 2
