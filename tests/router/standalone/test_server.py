"""A graph in a thread of this process: all that an engine would answer, and what takes one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anabranch.access.keys import make_key
from anabranch.errors import Conflict, DeployError, LoadError
from anabranch.router.standalone.access import access_table
from anabranch.router.standalone.process import opened
from anabranch.router.standalone.revision import StandaloneRevision
from tests.router.standalone.graphs import ONE, PARTS, ask, served, spec, tensor, written
from tests.waiting import until, until_true

TRIP = tensor([1, 2])
EXPLAINER = """

class Why:
    def explain(self, x):
        return {"sum": float(x.sum())}
"""
MODELS = """
from pathlib import Path

HERE = Path(__file__).parent


def note(text):
    with (HERE / "log").open("a") as file:
        file.write(text + " ")


class Twice:
    def load(self):
        note("loaded")

    def unload(self):
        note("unloaded")

    def predict(self, x):
        return {"y": x * 2}

    def check_health(self):
        if (HERE / "ill").exists():
            raise RuntimeError("the pump leaks")


class Asks:
    def attach(self, model):
        self.model = model

    def explain(self, x):
        return float(self.model({"x": x})["y"].sum())
"""


def test_a_graph_and_its_server_answer(tmp_path: Path) -> None:
    graph = spec(protocols=["v1", "seldon", "json"])
    with served(written(tmp_path, graph)) as found:
        reply = ask(f"{found.model}/infer", TRIP, x_request_id="mine")
        assert reply.json()["outputs"][0]["data"] == [2.0, 4.0]
        assert (reply.headers["x-request-id"], reply.json()["model_version"]) == ("mine", "1")
        assert ask(found.model).json()["inputs"][0]["shape"] == [-1, 2]
        assert ask(f"{found.model}/versions/1/ready").json() == {"name": "demo", "ready": True}
        assert ask(f"{found.url}/v2").json()["name"] == "anabranch"
        assert ask(f"{found.url}/v2/health/ready").json()["ready"] is True
        assert ask(f"{found.url}/v2/health/live").json() == {"live": True}
        assert ask(f"{found.url}/v2/repository/index", {}).json()[0]["state"] == "READY"
        assert ask(f"{found.url}/v1/models/demo:predict", {"instances": [[1, 2]]}).json() == {
            "predictions": [[2.0, 4.0]]
        }
        assert ask(f"{found.url}/v1/models").json()["models"] == ["demo"]
        seldon = ask(f"{found.url}/seldon/default/demo/api/v1.0/predictions",
                     {"data": {"ndarray": [[1, 2]]}})  # fmt: skip
        assert seldon.json()["data"]["ndarray"] == [[2.0, 4.0]]
        assert "/v2/models/demo/infer" in ask(f"{found.model}/openapi.json").json()["paths"]
        assert b"<html" in ask(f"{found.url}/").body.lower()


def test_what_takes_an_engine_says_so_to_callers_without_a_key(tmp_path: Path) -> None:
    with served(written(tmp_path, spec())) as found:
        for path in ("/control/v1/graphs", "/control/v1", "/console", "/console/events"):
            reply = ask(found.url + path)
            assert reply.status == 404 and "without an engine" in reply.json()["error"]
        assert ask(f"{found.url}/control/v1/graphs", {}).status == 404


def test_what_changes_the_graph_of_an_engine_takes_the_right_to_do_so(tmp_path: Path) -> None:
    access = access_table("127.0.0.1", "admin", None)
    with served(written(tmp_path, spec()), access=access) as found:
        reply = ask(f"{found.url}/v2/repository/models/demo/unload", {})
        assert reply.status == 404 and "without an engine" in reply.json()["error"]


def test_other_graphs_and_paths_are_not_there(tmp_path: Path) -> None:
    with served(written(tmp_path, spec())) as found:
        assert (
            "did you mean 'demo'" in ask(f"{found.url}/v2/models/demos/infer", TRIP).body.decode()
        )
        reply = ask(f"{found.url}/v2/models/demo/other/infer", TRIP)
        assert reply.status == 404 and "'demo/other'" in reply.json()["error"]
        assert "no path" in ask(f"{found.url}/v3").json()["error"]
        body = {"model": "demo", "prompt": "x"}
        assert "protocols: [openai]" in ask(f"{found.url}/v1/completions", body).body.decode()


def test_errors_and_limits_are_those_of_an_engine(tmp_path: Path) -> None:
    with served(written(tmp_path, spec("Fails"))) as found:
        reply = ask(f"{found.model}/infer", TRIP)
        assert reply.status == 500 and "node 'n'" in reply.json()["error"]
        assert ask(f"{found.model}/infer", {"inputs": []}).status == 400
        assert ask(f"{found.model}/infer", method="GET").status == 405
        big = {**TRIP, "parameters": {"text": "x" * 2**20}}
        assert ask(f"{found.model}/infer", big).status == 413


def test_requests_and_nodes_are_in_the_metrics(tmp_path: Path) -> None:
    with served(written(tmp_path, spec(name="counted"))) as found:
        for _ in range(3):
            ask(f"{found.model}/infer", TRIP)
        lines = ask(f"{found.url}/metrics").body.decode().splitlines()
        own = [line for line in lines if 'graph="counted"' in line]
        assert any(line.startswith("anabranch_arm_requests_total") and line.endswith(" 3.0")
                   for line in own)  # fmt: skip
        assert any(line.startswith("anabranch_node_duration_seconds_count") for line in own)


def test_keys_and_roles_hold(tmp_path: Path) -> None:
    key, keys = make_key(), tmp_path / "keys"
    keys.write_text(f"ada invoker {key}\n")
    keys.chmod(0o600)
    access = access_table("127.0.0.1", "none", keys)
    with served(written(tmp_path / "g", spec()), access=access) as found:
        assert ask(f"{found.model}/infer", TRIP).status == 401
        shown = f"Bearer {key}"
        assert ask(f"{found.model}/infer", TRIP, authorization=shown).status == 200
        feedback = {"id": "q", "reward": 1}
        assert ask(f"{found.model}/feedback", feedback, authorization=shown).status == 403
        assert ask(f"{found.url}/v2/health/ready").status == 200


def test_rewards_teach_a_router(tmp_path: Path) -> None:
    node = {"type": "transformer", "component": "parts.py:Scale", "inputs": {"x": "x"}}
    choose = {"type": "router", "strategy": "ucb1", "routes": ["a", "b"]}
    nodes = {"a": node, "b": node, "choose": choose}
    with served(written(tmp_path, spec(nodes=nodes, outputs={"y": "choose"}))) as found:

        def rewarded() -> str:
            told = ask(f"{found.model}/infer", TRIP).json()["parameters"]["routing"]
            route: str = json.loads(told)["path"]["choose"]
            body = {"routing": told, "reward": float(route == "b")}
            assert ask(f"{found.model}/feedback", body).json()["counted"]
            assert not ask(f"{found.model}/feedback", body).json()["counted"]
            return route

        routes = [rewarded() for _ in range(40)]
        assert {*routes} == {"a", "b"}
        assert routes[-20:].count("b") >= 15


def test_explanations_run_beside_predictions(tmp_path: Path) -> None:
    explainer = {"type": "explainer", "component": "parts.py:Why", "explains": "n"}
    graph = spec()
    graph["spec"]["nodes"]["why"] = explainer
    with served(written(tmp_path, graph, PARTS + EXPLAINER)) as found:
        reply = ask(f"{found.model}/explain", TRIP)
        assert reply.status == 200, reply.body
        assert reply.json()["explanations"][0]["library"] == {"sum": 3.0}
        lines = ask(f"{found.url}/metrics").body.decode()
        assert "anabranch_explanations_total" in lines


def test_monitors_look_at_what_is_asked(tmp_path: Path) -> None:
    ks = {"method": "ks", "watches": ["x"], "reference": {"first": 20}, "window": 20}
    graph = spec(name="watched", monitors={"drift": ks})
    with served(written(tmp_path, graph)) as found:
        for shift in (0, 100):
            rows = tensor(*([shift + number / 20, 1] for number in range(20)))
            assert ask(f"{found.model}/infer", rows).status == 200

        def seen() -> None:
            lines = ask(f"{found.url}/metrics").body.decode().splitlines()
            assert any(
                line.startswith("anabranch_monitor_drift{") and 'graph="watched"' in line
                and line.endswith(" 1.0") for line in lines
            )  # fmt: skip

        until_true(seen)


def test_a_component_that_is_unwell_keeps_the_graph_from_being_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.router.standalone.server.HEALTH_S", 0.01)
    monkeypatch.chdir(tmp_path)
    with served(written(tmp_path, spec("Unwell"))) as found:
        assert ask(f"{found.model}/ready").status == 200
        (tmp_path / "ill").touch()
        until(lambda: ask(f"{found.model}/ready").status == 503)
        reply = ask(f"{found.url}/v2/health/ready")
        assert reply.status == 503 and "the pump leaks" in reply.json()["error"]
        (tmp_path / "ill").unlink()
        until(lambda: ask(f"{found.model}/ready").status == 200)


def test_a_new_revision_takes_over_without_a_request_lost(tmp_path: Path) -> None:
    file = written(tmp_path, spec(timeout="1s"))
    with served(file) as found:
        assert ask(f"{found.model}/infer", TRIP).json()["outputs"][0]["data"] == [2.0, 4.0]
        (tmp_path / "parts.py").write_text(PARTS.replace("FACTOR = 2.0", "FACTOR = 3.0"))
        revision = found.run(StandaloneRevision.load(2, opened(file), beside=True))
        found.run(_moved(found.server, revision))
        reply = ask(f"{found.model}/infer", TRIP).json()
        assert (reply["model_version"], reply["outputs"][0]["data"]) == ("2", [3.0, 6.0])
        assert ask(f"{found.model}/versions/1").status == 404
        until(lambda: list(found.server._heads) == [2])


def test_a_revision_of_another_graph_is_refused(tmp_path: Path) -> None:
    with served(written(tmp_path / "a", spec())) as found:
        other = opened(written(tmp_path / "b", spec(name="other")))
        with pytest.raises(Conflict, match="'other' now, not 'demo'"):
            found.server.check(other.plan)


async def _moved(server: object, revision: StandaloneRevision) -> None:
    server.move_to(revision)  # type: ignore[attr-defined]


def test_what_does_not_start_is_named(tmp_path: Path) -> None:
    def reason(graph: object, parts: str = PARTS) -> str:
        with (
            pytest.raises((LoadError, DeployError)) as caught,
            served(
                written(tmp_path, graph, parts)  # type: ignore[arg-type]
            ),
        ):
            pass
        return str(caught.value)

    raising = PARTS.replace("class Scale:", "class Scale:\n    def load(self):\n        1 / 0\n")
    assert "node 'n'" in reason(spec(), raising)
    assert "warmup: " in reason(spec("Fails", warmup={"requests": 1}))
    ill = PARTS.replace('Path("ill").exists()', "True")
    assert "the pump leaks" in reason(spec("Unwell"), ill)


def test_request_logs_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_REQUEST_LOG_DIR", str(tmp_path / "log"))
    graph = spec(telemetry={"requests": {"to": "file"}})
    with served(written(tmp_path / "g", graph)) as found:
        ask(f"{found.model}/infer", TRIP)
    files = [path for path in (tmp_path / "log").rglob("*") if path.is_file()]
    assert len(files) == 1 and files[0].stat().st_size


def test_shared_models_are_loaded_once_by_their_documents_beside_the_spec(tmp_path: Path) -> None:
    node = {"type": "predictor", "model": "shared://twice", "inputs": {"x": "x"}}
    why = {"type": "explainer", "component": "parts.py:Asks", "explains": "a"}
    graph = spec(nodes={"a": node, "b": node, "why": why}, outputs={"y": "a", "z": "b.y"})
    fields = {"component": "parts.py:Twice", "inputs": ONE, "outputs": {"y": ONE["x"]}}
    model = {"kind": "Model", "metadata": {"name": "twice"}, "spec": fields}
    file = written(tmp_path, graph, MODELS)
    (tmp_path / "twice.yaml").write_text(json.dumps({"apiVersion": "anabranch/v1", **model}))
    with served(file) as found:
        outputs = ask(f"{found.model}/infer", TRIP).json()["outputs"]
        assert [one["data"] for one in outputs] == [[2.0, 4.0], [2.0, 4.0]]
        reply = ask(f"{found.model}/explain", TRIP).json()
        assert reply["explanations"][0]["library"] == 6.0
        (tmp_path / "ill").touch()
        found.run(found.server.revision.check_health())
        reason = ask(f"{found.url}/v2/repository/index", {}).json()[0]["reason"]
        assert "the pump leaks" in reason
    assert (tmp_path / "log").read_text() == "loaded unloaded "
