"""The Python client against a real engine: arrays come back, and each fault has its error."""

from __future__ import annotations

import asyncio
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import (
    AnabranchError,
    AsyncClient,
    Client,
    DeployError,
    EngineError,
    Graph,
    InvalidRequest,
    NotFound,
)
from tests.e2e.conftest import Given
from tests.engines import Engine

pytestmark = pytest.mark.e2e

PROJECT = Path(__file__).parents[2]

PARTS = """
from pathlib import Path
import numpy as np

class Times:
    def __init__(self, factor):
        self.factor = np.float32(Path(factor).read_text())

    def transform(self, x, context):
        print("times", self.factor)
        return x * self.factor

class Fails:
    def __init__(self):
        raise OSError("the disk is on fire")

    def transform(self, x):
        return x

class Picky:
    def transform(self, x):
        if (x < 0).any():
            raise ValueError("no negatives")
        return x

class Echo:
    def transform(self, text):
        return text

class Talks:
    async def predict(self, text):
        for word in str(text[0]).split():
            yield np.array([word], object)

class Why:
    def attach(self, model):
        self.model = model

    def explain(self, x):
        return {"says": self.model({"x": x})["output"].tolist()}
"""


SAID = {"output": ("BYTES", [-1])}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    (folder / "parts.py").write_text(PARTS)
    (folder / "factor.txt").write_text("2")
    return folder


@pytest.fixture
def client(engine: Engine, given: Given, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("ANABRANCH_HOME", str(engine.home))
    with Client() as one:
        yield one


def times(name: str, root: Path) -> Graph:
    return (
        Graph(name, root=root)
        .input("x", "FP32", [-1, 2])
        .transformer(
            "times", component="parts.py:Times", args={"factor": "factor.txt"}, inputs={"x": "x"}
        )
        .transformer("picky", component="parts.py:Picky", inputs={"x": "times"})
        .explainer("why", component="parts.py:Why", explains="times")
        .output("y", "picky")
    )


def text(name: str, root: Path, component: str, kind: str) -> Graph:
    graph = Graph(name, root=root).input("text", "BYTES", [-1])
    add = graph.predictor if kind == "predictor" else graph.transformer
    return add(
        "node", component=f"parts.py:{component}", inputs={"text": "text"}, outputs=SAID
    ).output("said", "node")


def test_a_graph_is_deployed_asked_changed_and_deleted(
    given: Given, client: Client, root: Path
) -> None:
    given.made.append("client-times")
    graph = times("client-times", root)
    first = graph.deploy(client, message="the first", author="me")
    assert (first.revision, first.state) == (1, "live")

    inputs = {"x": np.float32([[1, 2], [3, 4]])}
    reply = graph.infer(inputs, client=client, id="mine")
    assert (reply.revision, reply.id) == (1, "mine")
    np.testing.assert_array_equal(reply["y"], graph.run(inputs)["y"])
    np.testing.assert_array_equal(graph.infer([1, 2])["y"], np.float32([[2, 4]]))

    many = np.random.default_rng(1).random((50_000, 2), np.float32)
    many[0] = np.inf
    np.testing.assert_array_equal(client.infer("client-times", {"x": many})["y"], many * 2)

    why = client.explain("client-times", [[1, 2]])
    assert why["explanations"][0]["library"] == {"says": [[2.0, 4.0]]}

    with pytest.raises(InvalidRequest, match=r"datatype FP64|must be FP32"):
        client.infer("client-times", {"x": np.ones((1, 2))})
    with pytest.raises(AnabranchError, match="no negatives"):
        client.infer("client-times", [[-1, 2]])

    (root / "factor.txt").write_text("3")
    second = graph.deploy(client, canary=0)
    assert (second.revision, second.state) == (2, "ready")
    assert client.infer("client-times", [1, 2], revision=2)["y"].tolist() == [[3.0, 6.0]]
    client.traffic("client-times", {1: 0, 2: 1})
    assert client.infer("client-times", [1, 2]).revision == 2
    client.promote("client-times", 2)
    assert client.status("client-times")["live"] == 2
    assert client.rollback("client-times")["state"] == "live"
    assert client.infer("client-times", [1, 2]).revision == 1

    assert [one["revision"] for one in client.history("client-times")] == [2, 1]
    assert client.history("client-times")[1]["message"] == "the first"
    given.until_logged("client-times", "times 2")
    assert any(one["message"] == "times 2.0" for one in client.logs("client-times", 1000))

    client.delete("client-times")
    with pytest.raises(NotFound, match="client-times"):
        client.infer("client-times", inputs)


def test_a_rollout_is_waited_for(given: Given, client: Client, root: Path) -> None:
    given.made.append("client-rollout")
    graph = times("client-rollout", root)
    graph.deploy(client)
    (root / "factor.txt").write_text("4")
    graph.deploy(client, rollout=[50], hold="1s")
    assert client.rollout("client-rollout", wait=True, timeout=100)["phase"] == "promoted"
    given.settled("client-rollout", 2)
    assert client.infer("client-rollout", [1, 2]).revision == 2


def test_text_and_streams(given: Given, client: Client, root: Path) -> None:
    given.made += ["client-echo", "client-talks"]
    text("client-echo", root, "Echo", "transformer").deploy(client)
    found = client.infer("client-echo", ["ä", "b"])
    assert found["said"].tolist() == ["ä", "b"]
    text("client-talks", root, "Talks", "predictor").deploy(client)
    pieces = list(client.stream("client-talks", "two words"))
    assert [one["said"].tolist() for one in pieces] == [["two"], ["words"]]
    assert pieces[0].id and pieces[0].id == pieces[1].id


def test_a_revision_that_cannot_start_says_why(given: Given, client: Client, root: Path) -> None:
    given.made.append("client-fails")
    graph = (
        Graph("client-fails", root=root)
        .input("x", "FP32", [-1, 2])
        .transformer("bad", component="parts.py:Fails", inputs={"x": "x"})
        .output("y", "bad")
    )
    with pytest.raises(DeployError, match=r"'bad'.*the disk is on fire"):
        graph.deploy(client)


def test_a_router_that_learns_takes_rewards_for_replies(
    given: Given, client: Client, root: Path
) -> None:
    given.made.append("client-bandit")
    graph = (
        Graph("client-bandit", root=root)
        .input("text", "BYTES", [-1])
        .transformer("a", component="parts.py:Echo", inputs={"text": "text"})
        .transformer("b", component="parts.py:Echo", inputs={"text": "text"})
        .router("pick", strategy="thompson", routes=["a", "b"])
        .output("said", "pick")
    )
    graph.deploy(client)
    reply = graph.infer(["x"], client=client)
    assert reply.routing is not None
    assert client.feedback("client-bandit", reply, 1)["counted"]
    assert not client.feedback("client-bandit", reply, 1)["counted"]


def test_many_requests_run_at_a_time(
    given: Given, engine: Engine, client: Client, root: Path
) -> None:
    given.made.append("client-async")
    token = (engine.home / "token").read_text().strip()

    async def run() -> None:
        async with AsyncClient(engine.url, token) as one:
            await one.deploy(times("client-async", root))
            factor = float((root / "factor.txt").read_text())
            replies = await asyncio.gather(
                *(one.infer("client-async", [[at, 1]]) for at in range(1, 33))
            )
            assert [float(reply["y"][0, 0]) for reply in replies] == [
                at * factor for at in range(1, 33)
            ]
            await one.delete("client-async")

    asyncio.run(run())


def test_a_client_without_the_token_may_only_ask(engine: Engine) -> None:
    with (
        Client(engine.url) as stranger,
        pytest.raises(EngineError, match="takes a key with the role viewer"),
    ):
        stranger.status()


def test_the_guide_runs_as_it_stands(
    given: Given, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.made.append("fruit")
    shutil.copy(PROJECT / "examples" / "quickstart" / "components.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    guide = (PROJECT / "docs" / "client.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert len(snippets) > 5
    scope: dict[str, Any] = {"__name__": "guide"}
    try:
        exec(compile("".join(snippets), "docs/client.md", "exec"), scope)
    finally:
        scope["client"].close()


@pytest.mark.nightly
def test_the_notebook_gives_what_its_text_says(
    given: Given, engine: Engine, tmp_path: Path
) -> None:
    given.made.append("notebook")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Jupyter's own code
        nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
        path = PROJECT / "examples" / "notebook" / "client.ipynb"
        notebook = nbformat.read(path, as_version=4)
        runner = nbclient.NotebookClient(
            notebook, timeout=150, resources={"metadata": {"path": str(tmp_path)}}
        )
        runner.execute(env=engine.environment())
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    written, drawn, plan, here, deployed, reply, refused, _ = map(shown, code)
    assert written == "Writing components.py\n"
    assert "Graph('notebook', 1 input, 3 nodes)" in drawn.replace("&#x27;", "'")
    assert "<svg" in drawn and "<svg" in plan
    assert "1 segment, 0 hops on the critical path" in plan
    assert here.startswith("array([[")
    assert "\rchecking the graph" in deployed
    assert "DeployedRevision(graph='notebook', revision=1, state='live'" in deployed
    assert reply in ("(True, 1)", "(np.True_, 1)")
    assert refused.startswith("[2. 4.]\n")
    assert "'Shout' is a class of a notebook or script" in refused and "%%writefile" in refused


def shown(cell: Any) -> str:
    """What a reader sees below a cell: what it printed, and its last value."""
    parts = []
    for output in cell.outputs:
        assert output.output_type != "error", output
        data = output.get("data", {})
        parts.append(output.get("text") or data.get("text/html") or data.get("text/plain", ""))
    return "".join(parts)
