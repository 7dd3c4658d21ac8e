"""Every block of YAML, Python and shell in the docs runs, or the reason why it cannot is here.

A graph in YAML is loaded with models and components of its own and asked, also by its explainers
and monitors; a block that is a part of a spec is put into that of ``examples/quickstart``. Access
policies are read. Programs in Python run one by one. Commands are typed in
``tests/e2e/test_snippets.py``.
"""

from __future__ import annotations

import asyncio
import copy
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml

from anabranch import Graph
from anabranch.components import registry
from anabranch.components.contract import Context, NodeFeedback
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.control.access.policy import Policy, read_policy
from anabranch.graph.compile.loading import Loaded, load_data
from anabranch.graph.monitor.windows import load_monitors
from anabranch.graph.observe.monitor_copies import Seen
from anabranch.graph.plan.plan import Signature
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.specs.loader import Document
from anabranch.specs.models import InputSpec
from anabranch.specs.shared.document import expanded, is_model
from anabranch.specs.shared.reference import is_shared
from tests.certificates import Authority
from tests.client.connection import test_trust
from tests.components.runtimes.remote.servers import answering
from tests.project.commands import NOT_TYPED, SCRIPTS, documented
from tests.project.snippets import ROOT, Snippet, snippets
from tests.project.switching import is_shown
from tests.router.conftest import KEYS, StepHead, serving
from tests.router.http.doors.openai.graphs import COUNTED, echo, language_arms
from tests.small_models import Data, data_of, write_model

QUICKSTART = ROOT / "examples" / "quickstart"
ROWS = 4
WATCHED, REQUESTS = 6000, 600
"""Rows that monitors get, and the requests that bring them."""
NOT_RUN = {
    "model-uris.md: spec:": "its model is in S3; tests/components/artefacts fetches from one",
    "registry.md: apiVersion: anabranch/v1": "its model is in MLflow, as that of test_watch.py",
    "registry.md: from mlflow import MlflowClient": "asks a tracking server, as test_watch.py does",
    "features.md": "its stores are elsewhere; tests/components/features compiles its graph",
    "dashboards.md: rule_files: [rules/*.yml]": "configuration of Prometheus",
    "dashboards.md: - job_name: ray": "configuration of Prometheus",
    "components.md: # A model with MLServer's contract.": (
        "needs the package mlserver; tests/components/contracts/mlserver asks such models"
    ),
    "models.md: # An assistant behind OpenAI's API.": "test_builtins.py has a server like that",
    "models.md: # A price that a service tells.": "test_builtins.py asks such a service",
    "kserve.md": "tests/importers/kserve/test_importing.py imports its manifests",
    "metrics.md: scrape_configs:": "configuration of Prometheus",
    "tls.md: scrape_configs:": "configuration of Prometheus",
    "editor.md: # yaml-language-server: $schema=anabranch.schema.json": "the head of a spec",
    "README.md": "test_readme.py runs the README from top to bottom",
    "bentoml.md: import bentoml": "a service of BentoML, which is not installed here",
    "bentoml.md: import asyncio": "a service of BentoML, which is not installed here",
    "client.md": "its programs are one, which tests/e2e/test_client.py runs",
    "seldon.md: import numpy as np": (
        "needs an environment of its own; tests/e2e/test_seldon.py runs this client"
    ),
    "protocol.md: import asyncio": (
        "needs an environment of its own; tests/e2e/test_clients.py runs this client"
    ),
    "protocol.md: import numpy as np": (
        "needs an environment of its own; tests/e2e/test_clients.py runs such clients"
    ),
}
"""Blocks, or pages, and the reasons why no test of this module runs them."""
PARTS = """

class Price:
    def predict(self, **inputs):
        return np.float32([sum(float(x[row].sum()) for x in inputs.values())
                           for row in range(len(next(iter(inputs.values()))))])


class Read:
    def predict(self, scan, question):
        assert all(isinstance(one, bytes) for one in scan)
        return np.array([f"{one}: {len(page)}" for one, page in zip(question, scan)], object)


class Classify:
    def predict(self, photo):
        return photo.mean(axis=(1, 2, 3))


class Control:
    def predict(self, x):
        return x.mean(axis=1)


class Treatment(Control):
    pass


class Choose:
    def route(self, x):
        return "*" if x.sum() > 0 else None


class Triage:
    def predict(self, x):
        return {"simple": x} if x.sum() < 0 else {"hard": x}
"""
"""Components that graphs of the docs name and no page shows."""


def is_listed(name: str) -> bool:
    return name in NOT_RUN or name.partition(":")[0] in NOT_RUN


def test_no_block_is_missed_and_no_reason_is_left_over() -> None:
    names = {one.name for one in snippets("python")}
    names |= {one.name for one in snippets("yaml") if is_listed(one.name)}
    pages = {name.partition(":")[0] for name in names}
    known = {name for name in names if is_listed(name)} | PROGRAMS.keys()
    assert names - known == set(), "give the program a test in PROGRAMS, or a reason in NOT_RUN"
    assert PROGRAMS.keys() <= names
    assert NOT_RUN.keys() <= names | pages


def is_policy(one: Snippet) -> bool:
    """Return whether a block is an access policy, or a part of one."""
    data, *others = yaml.safe_load_all(one.text)
    is_map = not others and isinstance(data, dict)
    return is_map and data.keys() <= Policy.model_fields.keys()


POLICIES = [one for one in snippets("yaml") if is_policy(one) and not is_listed(one.name)]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda one: one.name)
def test_a_policy_has_no_mistakes(policy: Snippet) -> None:
    assert read_policy(policy.text) != Policy()


def test_every_reason_not_to_type_commands_is_of_a_block() -> None:
    names = [one.name for one in snippets("sh", "console")]
    assert all(any(name.startswith(begin) for name in names) for begin in NOT_TYPED)


def test_every_command_is_in_a_script_and_scripts_have_no_other() -> None:
    typed = {step for script in SCRIPTS.values() for step in script if isinstance(step, str)}
    assert documented().keys() - typed == set(), "add the command to SCRIPTS, or give a reason"
    assert typed - documented().keys() == set(), "no page shows the command any more"


# --- graphs


def spec_of(text: str) -> dict[str, Any]:
    """Return the graph that a block is, or a part of."""
    data: dict[str, Any] = yaml.safe_load(text)
    if is_model(data):
        found: Any = expanded(Document(data)).data
        return dict(found)
    if "apiVersion" in data:
        return data
    graph: dict[str, Any] = yaml.safe_load((QUICKSTART / "graph.yaml").read_text())
    if "metadata" in data:
        return graph | data
    graph["spec"] |= data.get("spec", data)
    return graph


def components() -> str:
    """Return the source of the components that graphs name."""
    shown = [
        one.text
        for one in snippets("python")
        if any(f"class {name}" in one.text for name in ("Why", "Classifier"))
    ]
    return "\n\n".join([(QUICKSTART / "components.py").read_text() + PARTS, *shown])


def rows_of(inputs: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return random rows for inputs, as arrays of their datatypes."""
    random = np.random.default_rng(0)
    found = {}
    for name, declared in inputs.items():
        free = (-1, "rows")
        inner = [min(count, 8) if size in free else size for size in declared["shape"][1:]]
        shape = [count if size in free else size for size in declared["shape"][:1]] + inner
        if declared["datatype"] == "BYTES":
            texts = np.array(["north", "south"], object)[np.arange(np.prod(shape)) % 2]
            as_bytes = np.array([text.encode() for text in texts], object)
            found[name] = (as_bytes if declared.get("content") == "raw" else texts).reshape(shape)
        else:
            found[name] = (random.random(shape) * 9).astype(to_dtype(declared["datatype"]))
    return found


def write_files(graph: dict[str, Any], folder: Path) -> None:
    """Write the components, models, samples and references that a graph names."""
    (folder / "components.py").write_text(components())
    spec = graph["spec"]
    for node in spec["nodes"].values():
        if is_shared(node.get("model")):
            write_shared(str(node["model"]), folder)
        elif "model" in node:
            inputs = {name: spec["inputs"][source] for name, source in node["inputs"].items()}
            model = folder / node["model"].format(model="berlin")
            write_model(node["runtime"], model, training(inputs))
        if "data" in node:
            explained = spec["nodes"][node["explains"]]["inputs"]
            label = node.get("args", {}).get("label")
            write_csv(folder / node["data"], {n: spec["inputs"][s] for n, s in explained.items()},
                      label)  # fmt: skip
    for monitor in spec.get("monitors", {}).values():
        if "data" in monitor.get("reference", {}):
            np.savetxt(
                folder / monitor["reference"]["data"], np.random.default_rng(0).random((500, 2)),
                delimiter=",", header="unripe,ripe", comments="",
            )  # fmt: skip


def write_shared(reference: str, folder: Path) -> None:
    """Write the document of a shared model that a page shows, and the model's file."""
    name = reference.removeprefix("shared://")
    texts = (one.text for one in snippets("yaml") if "anabranch/v1\nkind: Model" in one.text)
    (text,) = [one for one in texts if yaml.safe_load(one)["metadata"]["name"] == name]
    (folder / "shared.yaml").write_text(text)
    write_files(spec_of(text), folder)


def training(inputs: Mapping[str, Any]) -> Data:
    rows = rows_of(inputs, 60)
    y = np.arange(60) % 2
    if len(rows) == 1:
        return Data(next(iter(rows.values())), y)
    return Data(pytest.importorskip("pandas").DataFrame(rows), y)


def write_csv(path: Path, inputs: Mapping[str, Any], label: str | None) -> None:
    rows = rows_of(inputs, 60)
    pandas = pytest.importorskip("pandas")
    if len(rows) == 1:
        (matrix,) = rows.values()
        rows = {f"c{number}": column for number, column in enumerate(matrix.T)}
    labels = {} if label is None else {label: np.arange(60) % 2}
    pandas.DataFrame({**rows, **labels}).to_csv(path, index=False)


@pytest.fixture
def server() -> Any:
    """The address of another Open Inference server, with a model ``digits``."""

    async def doubled(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"y": inputs["x"] * 2}

    with serving(GraphApp(arms("digits", "x", (-1, 2), doubled))) as url:
        yield url


@pytest.fixture
def untyped() -> Any:
    """The address of a server of V1 and of Seldon's microservices, which gives rows back."""

    def same(path: str, body: Any) -> Any:
        rows = body.get("instances") or body["data"]["ndarray"]
        return {"predictions": rows, "data": {"ndarray": rows}}

    with answering(same) as seen:
        yield seen.url


def arms(name: str, given: str, shape: tuple[int, ...], step: Any) -> Arms:
    signature = Signature({given: InputSpec(datatype="FP32", shape=shape)}, {"y": None}, 60.0)
    made = Arms(name, lambda revision: StepHead(step), RequestLimits())
    made.apply(RoutingTable(name, 1, 1, {1: 100.0}, revisions={1: signature}, keys=KEYS))
    return made


def graphs() -> list[Any]:
    """Return the blocks that are graphs or parts of one, but for those of ``test_switching.py``."""
    found = [
        one
        for one in snippets("yaml")
        if not is_listed(one.name) and not is_shown(one) and not is_policy(one)
    ]
    slow = [pytest.mark.slow]  # explainers take seconds
    return [
        pytest.param(one.text, id=one.name, marks=slow if "explainer" in one.text else [])
        for one in found
    ]


def test_a_graph_whose_model_is_elsewhere_compiles(tmp_path: Path) -> None:
    (text,) = [one.text for one in snippets("yaml") if one.name == "model-uris.md: spec:"]
    assert load_data(spec_of(text), QUICKSTART).plan.nodes["far"]


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("text", graphs())
def test_a_graph_answers(
    text: str, tmp_path: Path, server: str, untyped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop-s3").mkdir()
    for secret in ("price-token", "shop-s3/secret-key"):
        (tmp_path / secret).write_text("secret")
    monkeypatch.setenv("PRICES_DATABASE_URL", "postgresql://shop")
    monkeypatch.setenv("ANABRANCH_KUBERNETES_SECRETS", str(tmp_path))
    text = text.replace("/run/secrets", str(tmp_path)).replace("http://triton:8000", server)
    text = text.replace("http://serving:8501", untyped).replace("http://classifier:9000", untyped)
    graph = spec_of(text)
    write_files(graph, tmp_path)
    loaded = load_data(copy.deepcopy(graph), tmp_path)
    rows = rows_of(graph["spec"]["inputs"], ROWS)
    parameters = {"model": "berlin"} if "multiplex" in text else {}
    with Graph.from_spec(loaded.graph, tmp_path) as asked:
        answer = asked.run(rows, parameters=parameters)
        assert answer.keys() == graph["spec"]["outputs"].keys()
        assert {len(one) for one in answer.values()} == {ROWS}
        explain(asked, loaded, {name: one[:1] for name, one in rows.items()})
    watch(loaded, tmp_path, rows_of(graph["spec"]["inputs"], WATCHED))


def explain(graph: Graph, loaded: Loaded, rows: Mapping[str, Any]) -> None:
    for name, node in loaded.graph.spec.nodes.items():
        if node.type == "explainer":
            assert len(graph.explain(rows, name)["explanations"]) == 1


def watch(loaded: Loaded, root: Path, rows: Mapping[str, Any]) -> None:
    for monitor in load_monitors(loaded.plan, root, None):
        sources = list(loaded.plan.monitors[monitor.name].watches)
        given = {
            one: rows.get(one, np.random.default_rng(1).random((WATCHED, 2))) for one in sources
        }
        assert monitor.take(
            Seen(source, str(part), given[source][part::REQUESTS]) for part in range(REQUESTS)
            for source in sources
        )  # fmt: skip
        assert (monitor.result().error, monitor.result().windows > 0) == ("", True)


# --- programs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [one.name for one in snippets("python") if not is_listed(one.name)]
)
def test_a_program_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = [one.text for one in snippets("python") if one.name == name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry._KINDS, "transformer", dict(registry._KINDS["transformer"]))
    PROGRAMS[name](text, tmp_path)


def component(text: str, **scope: Any) -> Any:
    """Return the class that a block defines."""
    names: dict[str, Any] = {"np": np, "__name__": "docs", **scope}
    exec(compile(text, "<docs>", "exec"), names)
    return [one for one in names.values() if isinstance(one, type)][-1]


def ripe(text: str, tmp_path: Path) -> None:
    given = np.float32([[0.9, 0.2], [0.1, 0.8]])
    with Graph.load(QUICKSTART / "graph.yaml").output("alone", "linear") as graph:
        expected = graph.run({"fruit": given})["alone"]
    np.testing.assert_allclose(component(text)().predict(given), expected, rtol=1e-5)


def ripens(text: str, tmp_path: Path) -> None:
    write_model("sklearn", tmp_path / "ripeness.joblib", data_of([-1, 2]))
    (tmp_path / "service.py").write_text(text)
    graph = Graph("g", root=tmp_path).input("fruit", "FP32", [-1, 2]).predictor(
        "ripeness", component="service.py:Ripeness", args={"model": "ripeness.joblib"},
        inputs={"fruit": "fruit"},
    )  # fmt: skip
    with graph.output("y", "ripeness"):
        assert graph.run(np.float32([[0.9, 0.1]]))["y"].shape[0] == 1


def means(text: str, tmp_path: Path) -> None:
    (tmp_path / "components.py").write_text((QUICKSTART / "components.py").read_text())
    names: dict[str, Any] = {}
    exec(compile(text, "<docs>", "exec"), names)
    assert names["probabilities"].shape[1] == 2
    names["graph"].close()


def switches(text: str, tmp_path: Path) -> None:
    (tmp_path / "components.py").write_text(text)
    graph = Graph("g", root=tmp_path).input("fruit", "FP64", [-1, 2]).predictor(
        "ripe", component="components.py:Classifier", contract="seldon", args={"threshold": 0.4},
        inputs={"X": "fruit"},
    )  # fmt: skip
    with graph.output("probabilities", "ripe"):
        found = graph.run({"fruit": np.array([[0.9, 0.2], [0.1, 0.2]])})
    assert found["probabilities"].tolist() == [[0, 1], [1, 0]]


def rewarded(text: str, tmp_path: Path) -> None:
    chooser = component(text)()
    chooser.feedback(NodeFeedback("7", 0.5, path={"choose": "far"}))
    assert chooser.route(np.zeros(1)) == "far"


def negated(text: str, tmp_path: Path) -> None:
    component(text, register=registry.register)
    graph = Graph("g").input("x", "FP32", [-1])
    graph.transformer("minus", method="negate", inputs={"x": "x"}).output("y", "minus")
    assert graph.run({"x": np.float32([1, -2])})["y"].tolist() == [-1, 2]


def lives(text: str, tmp_path: Path) -> None:
    (tmp_path / "components.py").write_text(text)
    (tmp_path / "weights.json").write_text("[[1.0], [2.0]]")
    graph = Graph("g", root=tmp_path).input("x", "FP32", [-1, 2])
    graph.predictor("line", component="components.py:Linear", inputs={"x": "x"},
                    args={"scale": 2.0})  # fmt: skip
    with graph.output("y", "line"):
        assert graph.run({"x": np.float32([[1, 1]])})["y"].tolist() == [[6.0]]


def greets(text: str, tmp_path: Path) -> None:
    (tmp_path / "components.py").write_text(text)
    graph = Graph("g", root=tmp_path).input("name", "BYTES", [-1])
    graph.transformer("hello", component="components.py:Greeting", inputs={"name": "name"})
    with graph.output("y", "hello"):
        german = graph.run({"name": ["Ada"]}, headers={"accept-language": "de"})
        assert german["y"].tolist() == ["hallo Ada"]
        assert graph.run({"name": ["Ada"]})["y"].tolist() == ["hello Ada"]


def explains(text: str, tmp_path: Path) -> None:
    (tmp_path / "components.py").write_text(components())
    loaded = load_data(yaml.safe_load((QUICKSTART / "graph.yaml").read_text()), tmp_path)
    graph = Graph.from_spec(loaded.graph, tmp_path)
    with graph.explainer("why", component="components.py:Why", explains="linear"):
        (found,) = graph.explain({"fruit": np.float32([[0.9, 0.2]])})["explanations"]
    assert found["library"]["prediction"][0][1] > 0.9


def fits(text: str, tmp_path: Path) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    pytest.importorskip("alibi.explainers")
    x = np.random.default_rng(0).random((100, 3)).astype(np.float32)
    forest = ensemble.RandomForestClassifier(5, random_state=0).fit(x, x[:, 0] > 0.5)
    names = {"forest": forest, "feature_names": ["a", "b", "c"], "x": x}
    exec(compile(text, "<docs>", "exec"), names)
    pytest.importorskip("joblib").dump(forest, tmp_path / "forest.joblib")
    graph = Graph("g", root=tmp_path).input("x", "FP32", [-1, 3])
    graph.predictor("forest", runtime="sklearn", model="forest.joblib", method="predict_proba",
                    inputs={"x": "x"})  # fmt: skip
    graph.explainer("rule", explains="forest", method="anchor_tabular", model="explainers/rule")
    with graph.output("y", "forest"):
        assert graph.explain({"x": x[:1]})["method"] == "anchor_tabular"


def chooses(text: str, tmp_path: Path) -> None:
    found = component(text)().route(np.float32([[1, 3]]))
    assert (str(found), found.features) == ("forest", (2.0, 1.0))


def asks(text: str, tmp_path: Path) -> None:
    async def doubled(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"y": inputs["x"] * 2}

    with serving(GraphApp(arms("demo", "x", (-1, 2), doubled))) as url:
        names: dict[str, Any] = {}
        exec(compile(text.replace("http://localhost:8000", url), "<docs>", "exec"), names)
    np.testing.assert_array_equal(names["found"], np.float32([[1.8, 0.4]]))


def assists(text: str, tmp_path: Path) -> None:
    app = GraphApp(language_arms(echo, outputs=COUNTED, graph="assistant"))
    with serving(app) as url:
        names: dict[str, Any] = {}
        exec(compile(text.replace("http://localhost:8000", url), "<docs>", "exec"), names)
        names["client"].close()
    assert names["answer"].choices[0].message.content == "Good morning"
    assert names["chunk"].choices[0].finish_reason == "stop"


def chats(text: str, tmp_path: Path) -> None:
    class Model:
        async def answer(self, prompt: str) -> AsyncIterator[str]:
            for word in prompt.split():
                yield word

    async def said() -> list[Any]:
        pieces = chat.predict(np.array(["one two"], object), Context())
        return [piece.tolist() async for piece in pieces]

    chat = component(text)()
    chat.model = Model()
    assert asyncio.run(said()) == [["one"], ["two"]]


def logs(text: str, tmp_path: Path) -> None:
    (tmp_path / "components.py").write_text(text)
    graph = Graph("g", root=tmp_path).input("pixels", "FP32", [-1, 2])
    graph.transformer("scale", component="components.py:Scale", inputs={"pixels": "pixels"})
    with graph.output("y", "scale"):
        assert graph.run({"pixels": np.float32([[16, 8]])})["y"].tolist() == [[1.0, 0.5]]


def trusts(text: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("ann", file="ann")
    with test_trust.serving(authority) as (url, server, _):
        names: dict[str, Any] = {}
        exec(compile(text.replace("https://engine.example.com:8000", url), "<docs>", "exec"), names)
        with names["client"] as client:
            assert client.status() == {"graphs": []}
        server.context.load_verify_locations(authority.file)
        server.context.verify_mode = ssl.CERT_REQUIRED
        with names["named"] as client:
            assert client.status() == {"graphs": []}


def shakes_hands(text: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("ann", file="ann")
    files, root = authority.issue("engine"), authority.file.read_bytes()
    own = grpc.ssl_server_credentials(
        [(files.key.read_bytes(), files.cert.read_bytes())], root, require_client_auth=True
    )
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", own)
    server.start()
    names: dict[str, Any] = {}
    here = text.replace("engine.example.com:9000", f"127.0.0.1:{port}")
    exec(compile(here, "<docs>", "exec"), names)
    with names["channel"] as channel:
        grpc.channel_ready_future(channel).result(60)
    server.stop(None).wait()


PROGRAMS: Mapping[str, Callable[..., None]] = {
    "index.md: class Linear:": ripe,
    'CONTRIBUTING.md: @register("transformer", "negate")': negated,
    "bentoml.md: import joblib": ripens,
    "bentoml.md: import numpy as np": means,
    "components.md: import json": lives,
    "components.md: class Greeting:": greets,
    "components.md: import numpy as np": switches,
    "components.md: class Chooser:": rewarded,
    "explainers.md: class Why:": explains,
    "explainers.md: from alibi.explainers import AnchorTabular": fits,
    "feedback.md: from anabranch.components.contract import Choice": chooses,
    "protocol.md: import json": asks,
    "protocol.md: class Chat:": chats,
    "protocol.md: from openai import OpenAI": assists,
    "telemetry.md: import logging": logs,
    "tls.md: import ssl": trusts,
    "tls.md: import grpc": shakes_hands,
}
