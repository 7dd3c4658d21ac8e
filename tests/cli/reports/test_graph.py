"""What people read."""

from datetime import UTC, datetime

from anabranch.cli.reports import graph
from anabranch.cli.terminal import table


def test_columns_line_up_and_gaps_show():
    assert table(("NAME", "N"), [("long name", 1), ("b", None)]) == (
        "NAME       N\nlong name  1\nb          -"
    )


def test_a_cell_never_breaks_the_line():
    assert table(("REASON",), [("one\ntwo",)]) == "REASON\none two"


def test_a_plan_shows_what_a_deploy_would_change():
    plan = {"name": "g", "segments": [], "nodes": {}, "critical_path_hops": 0, "warnings": ["w"]}
    assert "warning: w" in graph.plan_text(plan, [])
    assert graph.plan_text(plan, []).endswith("changes to the stable revision:\n  no change")
    assert graph.plan_text(plan, ["+ node a"]).endswith("  + node a")
    assert "against" not in graph.plan_text(plan, None)


def test_a_plan_shows_what_explainers_ask():
    explains = {"node": None, "copies": ["a", "b"], "calls": []}
    plan = {
        "name": "g", "segments": [], "critical_path_hops": 0, "warnings": [],
        "nodes": {"a": {"type": "transformer"}, "why": {"type": "explainer", "explains": explains}},
    }  # fmt: skip
    *_, head, row = graph.plan_text(plan, None).splitlines()
    assert head.split("  ")[0] == "EXPLAINER"
    assert row.split() == ["why", "the", "whole", "graph", "a,", "b", "-"]


def test_a_plan_shows_what_segments_ask_for_and_where_they_may_be():
    asked = {"cpu": 1.0, "custom": {"licence": 0.5}}
    machines = {"labels": {"zone": "!north"}, "spread": "node"}
    head = {"name": "head", "nodes": [], "resources": None, "placement": None}
    plan = {"name": "g", "nodes": {}, "critical_path_hops": 1, "warnings": []}
    part = {"name": "a", "nodes": ["a"], "resources": asked, "placement": machines}
    *_, heads, _, row = graph.plan_text(plan | {"segments": [head, part]}, None).splitlines()
    assert heads.split() == ["SEGMENT", "NODES", "RESOURCES", "MACHINES"]
    assert "cpu 1.0, licence 0.5  zone: !north, spread: node" in row
    anywhere = part | {"placement": None}
    *_, heads, _ = graph.plan_text(plan | {"segments": [anywhere]}, None).splitlines()
    assert heads.split() == ["SEGMENT", "NODES", "RESOURCES"]


def test_a_model_shows_its_users_and_counts_those_of_others():
    model = {
        "graph": "fraud", "state": "live", "live": 1, "inlined": 1, "url": "http://localhost",
        "arms": [], "mirrors": [], "rollout": None, "segments": [], "revisions": [], "models": [],
        "users": ["pay (revision 1)"], "hidden_users": 2,
    }  # fmt: skip
    text = graph.status_text(model)
    assert "used by pay (revision 1)\nused by 2 that you may not view" in text
    assert "may not view" not in graph.status_text(model | {"hidden_users": 0})


def test_a_graph_shows_segments_and_revisions_with_the_reason_of_a_failure():
    text = graph.status_text(
        {
            "graph": "g",
            "state": "live",
            "live": 1,
            "inlined": 1,
            "url": "http://localhost",
            "arms": [],
            "mirrors": [],
            "rollout": None,
            "segments": [
                {
                    "name": "head",
                    "nodes": ["a", "b"],
                    "running": 1,
                    "replicas": 2,
                    "waiting": 1,
                    "waits_for": "1 CPU: it is taken on head (10.0.0.1)",
                }
            ],
            "revisions": [
                {"revision": 2, "state": "failed", "author": "", "message": "", "reason": "node a"},
                {"revision": 1, "state": "live", "author": "me", "message": "hi", "reason": ""},
            ],
        }
    )
    assert "head     a, b   1/2; 1 waiting for 1 CPU: it is taken on head (10.0.0.1)" in text
    assert "r2        failed  -       -        node a" in text
    assert "carry" not in text


def test_graphs_come_with_the_namespaces_that_have_a_quota():
    use = {"graphs": 1, "replicas": 3, "cpu": 1.5, "gpu": 0, "memory": 2 * 2**30}
    spaces = [
        {"namespace": "default", "use": use, "limits": {}},
        {"namespace": "team", "use": use, "limits": {"graphs": 2, "cpu": 8.0, "memory": 2**35}},
    ]
    assert graph.status_text({"graphs": [], "namespaces": spaces[:1]}) == "no graphs"
    assert graph.status_text({"graphs": [], "namespaces": spaces}) == (
        "no graphs\n\n"
        "NAMESPACE  GRAPHS  REPLICAS  CPU       GPU  MEMORY\n"
        "team       1 of 2  3         1.5 of 8  0    2GiB of 32GiB"
    )


def revision(number: int, pins: dict[str, str]):
    return {
        "graph": "g", "revision": number, "state": "live", "author": "", "message": "",
        "created_at": "2026-01-01T00:00:00+00:00", "digest": "d" * 64, "pins": pins, "spec": "",
    }  # fmt: skip


def history(revisions, state="present"):
    return {"graph": "g", "state": state, "revisions": revisions}


def test_history_and_diff_show_what_aliases_meant():
    from anabranch.cli.reports.graph import difference_text, history_text
    from anabranch.control.release.differences import difference

    alias = "models:/m@champion"
    old, new = revision(1, {alias: "models:/m/3"}), revision(2, {alias: "models:/m/4"})
    lines = history_text(history([new, old])).splitlines()
    assert lines[0].endswith("MODELS")
    assert lines[1].endswith("m@champion = 4") and lines[2].endswith("m@champion = 3")
    text = difference_text(difference(old, new, {}, {}))
    assert f"models:\n  ~ {alias}: models:/m/3 -> models:/m/4" in text
    assert "-> not there" in difference_text(difference(old, revision(2, {}), {}, {}))
    assert "MODELS" not in history_text(history([revision(1, {})]))


def test_the_history_of_a_deleted_graph_says_so():
    from anabranch.cli.reports.graph import history_text

    assert "deleted" not in history_text(history([revision(1, {})]))
    text = history_text(history([revision(1, {})], "deleted"))
    assert text.endswith("was deleted; `anabranch rollback g` brings it back")


def test_a_segment_that_is_down_shows_since_when():
    segments = [
        {"name": "head", "nodes": ["a"], "running": 1, "replicas": 1, "down_since": None,
         "waiting": 0},
        {
            "name": "far", "nodes": ["b"], "running": 0, "replicas": 1,
            "down_since": "2026-03-01T12:03:04.000+00:00", "reason": "its node is lost",
            "waiting": 0,
        },
    ]  # fmt: skip
    local = datetime(2026, 3, 1, 12, 3, 4, tzinfo=UTC).astimezone()
    assert graph._segments_text(segments).splitlines() == [
        "SEGMENT  NODES  REPLICAS  STATE",
        "head     a      1/1       -",
        f"far      b      0/1       down since {local:%H:%M:%S} (its node is lost)",
    ]
    assert "STATE" not in graph._segments_text(segments[:1])
    assert graph._segments_text([]) == ""


def watch(**parts):
    return {
        "model": "models:/m@champion", "nodes": ["a", "b"], "every": 30.0, "pin": "models:/m/1",
        "found": "models:/m/2", "looked_at": "2026-01-01T00:00:00+00:00", "trouble": "",
        "since": None, **parts,
    }  # fmt: skip


def test_watched_models():
    assert graph._watches_text([]) == ""
    head, row = graph._watches_text([watch()]).splitlines()
    assert head.split("  ")[0] == "WATCHES" and "TROUBLE" not in head
    assert row.split()[:5] == ["models:/m@champion", "a,", "b", "1", "2"]
    text = graph._watches_text([watch(found=None, looked_at=None)])
    assert text.splitlines()[1].split()[-3:] == ["-", "not", "yet"]
    away = watch(trouble="no answer", since="2026-01-01T00:00:00+00:00")
    assert "no answer (since " in graph._watches_text([away])
    file = watch(model="file:///m", pin="sha256:" + "ab" * 32, found="mark:" + "cd" * 32)
    assert graph._watches_text([file]).splitlines()[1].split()[3:5] == [
        "abababababab",
        "cdcdcdcdcdcd",
    ]
