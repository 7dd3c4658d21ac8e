"""Explanations on the router's side: who is asked, by when, and beside predictions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import AnabranchError, InvalidRequest, NodeError, Unavailable
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.graph.plan.plan import ExplainerTerms
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.limits import RequestLimits
from anabranch.router.measure.tally import Tally
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.explaining import time_to_explain
from anabranch.router.traffic.samples import Samples
from tests.router.conftest import BODY, Run, StepHead, double, make_signature, make_table

FOUND = ExplainerReply("kernel_shap", b'[{"method":"kernel_shap"}]', 0.5, 2, 64)


class Graph:
    """Revisions whose explainers are one coroutine function, asked through ASGI."""

    def __init__(
        self,
        explain: Any = None,
        explainers: Mapping[int, Mapping[str, ExplainerTerms]] | None = None,
        step: Any = double,
        draws: tuple[float, ...] = (),
        timeout: float = 60.0,
        **table: Any,
    ) -> None:
        self.asked: list[tuple[int, str, dict[str, Any], Context, bool]] = []
        self.cancelled = 0
        self.explain = explain
        self.noticed: list[tuple[str, str, str]] = []
        left = iter(draws)
        limits = table.pop("limits", RequestLimits())
        self.arms = Arms(
            "demo",
            lambda revision: StepHead(step),
            limits,
            lambda: next(left),
            explainers=self.reach,
            samples=Samples(limits, lambda *one: self.noticed.append(one)),
        )
        terms = explainers or {3: {"why": ExplainerTerms(30.0)}}
        signatures = {
            number: replace(make_signature(timeout=timeout), explainers=found)
            for number, found in terms.items()
        }
        self.arms.apply(make_table(table.pop("weights", None), revisions=signatures, **table))
        self.app = GraphApp(self.arms)

    def reach(self, revision: int) -> Any:
        async def ask(name: str, inputs: Any, context: Context, sampled: bool) -> ExplainerReply:
            self.asked.append((revision, name, dict(inputs), context, sampled))
            try:
                return FOUND if self.explain is None else await self.explain()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

        return ask

    async def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        gone: asyncio.Event | None = None,
        **parameters: Any,
    ) -> tuple[int, Any]:
        """Status and body; (0, None) where the client hung up, as it does after ``gone``."""
        sent: list[Any] = []
        body = json.dumps({**BODY, "id": "q", "parameters": parameters}).encode()
        messages = iter([{"type": "http.request", "body": body}])

        async def receive() -> Any:
            message = next(messages, None)
            if message is None:
                await (gone or asyncio.Event()).wait()
            return message or {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": "POST", "headers": raw}
        await self.app({**scope, "path": f"/v2/models/demo{path}"}, receive, send)
        if not sent:
            return 0, None
        self.headers = dict(sent[0]["headers"])
        return sent[0]["status"], json.loads(sent[1]["body"])


def asked(graph: Graph, path: str, **parameters: Any) -> tuple[int, Any]:
    return asyncio.run(graph.ask(path, **parameters))


def test_an_explanation_is_answered_as_documented() -> None:
    graph = Graph()
    assert asked(graph, "/explain", target=1) == (
        200,
        {
            "model_name": "demo",
            "model_version": "3",
            "id": "q",
            "explainer": "why",
            "method": "kernel_shap",
            "explanations": [{"method": "kernel_shap"}],
            "timing": {"seconds": 0.5, "model_calls": 2, "model_rows": 64, "cached": False},
        },
    )
    ((revision, name, inputs, context, sampled),) = graph.asked
    assert (revision, name, sampled) == (3, "why", False)
    assert inputs["x"].tolist() == [[1, 2], [3, 4]]
    assert context.id == "q" and context.parameters == {"target": 1}


def test_an_explanation_over_the_limit_is_an_error() -> None:
    status, told = asked(Graph(limits=RequestLimits(max_output=60)), "/explain")
    assert status == 500
    assert told["error"].startswith("the explanation by 'why' has ")
    assert told["error"].endswith(" bytes, over the limit of 60 bytes of an answer")


@pytest.mark.parametrize(
    ("path", "parameters", "said"),
    [
        ("/explain", {"explainer": "who"}, "no explainer 'who' (did you mean 'why'?"),
        ("/explain", {"explainer": 3}, "must be the name of an explainer (how, why), got 3"),
        (
            "/explain",
            {},
            "several explainers (how, why); name one of them in parameter 'explainer'",
        ),
        ("/infer", {"explain": True}, "several explainers (how, why); name one of them in"),
        ("/infer", {"explain": "who"}, "no explainer 'who'"),
        ("/infer", {"explain": 1.5}, "must be the name of an explainer"),
        ("/explain", {"explainer": "why", "timeout": -1}, "whole number of microseconds"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_there_is(
    path: str, parameters: dict[str, Any], said: str
) -> None:
    terms = {"how": ExplainerTerms(1.0), "why": ExplainerTerms(1.0)}
    graph = Graph(explainers={3: terms})
    status, answer = asked(graph, path, **parameters)
    assert status == 400 and said in answer["error"]
    assert not graph.asked


@pytest.mark.parametrize(("path", "more"), [("/explain", {}), ("/infer", {"explain": True})])
def test_a_graph_without_explainers_says_so(path: str, more: dict[str, Any]) -> None:
    status, answer = asked(Graph(explainers={3: {}}), path, **more)
    assert (status, answer["error"]) == (400, "graph 'demo' (revision 3) has no explainers")


def test_a_stream_has_no_place_for_an_explanation() -> None:
    graph = Graph()
    request = InferenceRequest({"x": np.ones((1, 2), np.float32)}, parameters={"explain": True})

    async def main() -> None:
        with pytest.raises(InvalidRequest, match="'explain' is for infer"):
            async for _ in graph.arms.stream(request):
                pass

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("full"), 503), (NodeError("why", "no idea"), 500)]
)
def test_errors_are_those_of_the_router(error: AnabranchError, status: int) -> None:
    async def fail() -> ExplainerReply:
        raise error

    graph = Graph(fail)
    found, answer = asked(graph, "/explain")
    assert (found, answer["error"]) == (status, str(error))
    assert (b"retry-after" in graph.headers) is (status == 503)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def forever() -> ExplainerReply:
    await asyncio.Event().wait()
    return FOUND


@pytest.mark.parametrize("terms", [ExplainerTerms(0.05), ExplainerTerms(30.0)])
def test_an_explanation_has_the_time_of_its_node_or_less(terms: ExplainerTerms) -> None:
    graph = Graph(forever, {3: {"why": terms}})
    more = {} if terms.timeout < 1 else {"timeout": 50_000}
    status, answer = asked(graph, "/explain", **more)
    assert status == 504
    assert "explainer 'why' of graph 'demo' did not answer within 0.05s" in answer["error"]
    assert graph.cancelled == 1


def test_an_explanation_ends_with_its_client() -> None:
    graph = Graph(forever)

    async def main() -> tuple[int, Any]:
        gone = asyncio.Event()
        gone.set()
        return await graph.ask("/explain", gone=gone)

    assert asyncio.run(main()) == (0, None)
    assert graph.cancelled == 1 and graph.arms.explain_gate.inside == 0


def test_beside_a_prediction_comes_what_explain_answers() -> None:
    graph = Graph()
    _, alone = asked(graph, "/explain")
    status, answer = asked(graph, "/infer", explain=True)
    assert status == 200
    assert answer["outputs"][0]["data"] == [2, 4, 6, 8]
    assert answer["parameters"]["explained"] is True
    assert json.loads(answer["parameters"]["explanation"]) == alone


def test_false_asks_for_nothing() -> None:
    graph = Graph()
    status, answer = asked(graph, "/infer", explain=False)
    assert status == 200 and "parameters" not in answer and not graph.asked


def test_a_prediction_does_not_wait_for_a_late_explanation() -> None:
    graph = Graph(forever, {3: {"why": ExplainerTerms(0.05)}})
    status, answer = asked(graph, "/infer", explain="why")
    assert status == 200 and answer["outputs"][0]["data"] == [2, 4, 6, 8]
    assert answer["parameters"]["explained"] is False
    assert answer["parameters"]["explanation_error"].startswith("late: explainer 'why'")
    assert graph.cancelled == 1


@pytest.mark.parametrize(
    ("seconds", "left"), [(60.0, 3.0), (1.0, 0.05), (0.5, 0.05), (0.1, 0.05), (0.02, 0.01), (0, 0)]
)
def test_a_late_explanation_leaves_a_reply_time_to_be_sent(seconds: float, left: float) -> None:
    assert seconds - time_to_explain(seconds) == pytest.approx(left)


def test_an_explanation_leaves_the_prediction_in_time(timeless: Run) -> None:
    graph = Graph(forever, timeout=1)  # of which a twentieth is left to the reply
    status, answer = timeless(graph.ask("/infer", explain=True))
    assert (status, answer["parameters"]["explained"]) == (200, False)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unavailable("its queue is full"), "full: its queue is full"),
        (NodeError("why", "no idea"), "failed: node 'why' failed: no idea"),
        (ZeroDivisionError("secret"), "failed: explainer 'why' met an internal error"),
    ],
)
def test_what_goes_wrong_beside_a_prediction_is_told(error: Exception, said: str) -> None:
    async def fail() -> ExplainerReply:
        raise error

    status, answer = asked(Graph(fail), "/infer", explain=True)
    assert status == 200
    assert answer["parameters"] == {"explained": False, "explanation_error": said}


def test_where_the_prediction_fails_the_explanation_is_cancelled() -> None:
    async def fail(inputs: Any, context: Context) -> dict[str, Any]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise NodeError("a", "no luck")

    graph = Graph(forever, step=fail)
    status, answer = asked(graph, "/infer", explain=True)
    assert (status, answer["error"]) == (500, "node 'a' failed: no luck")
    assert (len(graph.asked), graph.cancelled) == (1, 1)


def test_the_explainer_sees_what_components_have_not_touched() -> None:
    async def in_place(inputs: Any, context: Context) -> dict[str, Any]:
        inputs["x"] *= 0
        return {"doubled": inputs["x"], "rows": np.array(2)}

    graph = Graph(step=in_place)
    asked(graph, "/infer", explain=True)
    assert graph.asked[0][2]["x"].tolist() == [[1, 2], [3, 4]]


def test_those_that_wait_for_explanations_leave_places_to_predictions() -> None:
    graph = Graph(forever, limits=RequestLimits(max_ongoing=8))

    async def main() -> None:
        waiting = [asyncio.create_task(graph.ask("/explain")) for _ in range(2)]
        await settle()
        status, answer = await graph.ask("/explain")
        assert status == 503 and "may wait for explanations" in answer["error"]
        status, answer = await graph.ask("/infer", explain=True)
        assert status == 200
        assert answer["parameters"]["explanation_error"].startswith("full: 2 requests")
        assert (await graph.ask("/infer"))[0] == 200
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert graph.arms.explain_gate.inside == 0

    asyncio.run(main())


def test_the_revision_is_chosen_as_for_a_prediction() -> None:
    terms = {"why": ExplainerTerms(1.0)}
    graph = Graph(explainers={3: terms, 4: terms}, weights={3: 0.0, 4: 100.0}, stable=3)
    assert asked(graph, "/explain")[1]["model_version"] == "4"
    assert asked(graph, "/versions/3/explain")[1]["model_version"] == "3"
    assert asked(graph, "/versions/9/explain")[0] == 404


def test_a_candidate_without_the_explainer_is_not_to_blame_and_still_predicts() -> None:
    graph = Graph(
        explainers={3: {"why": ExplainerTerms(1.0)}, 4: {}}, weights={3: 0.0, 4: 100.0}, stable=3
    )
    status, answer = asked(graph, "/infer", explain=True)
    assert (status, answer["model_version"]) == (200, "4")
    assert answer["parameters"]["explained"] is False
    assert "(revision 4) has no explainers" in answer["parameters"]["explanation_error"]
    assert asked(graph, "/infer", explain="who")[0] == 400
    assert graph.arms.report().arms.get(4, Tally()).errors == 0


SAMPLED = {3: {"why": ExplainerTerms(1.0, 0.25)}}


def test_a_share_of_the_routed_traffic_is_explained_off_its_path() -> None:
    graph = Graph(explainers=SAMPLED, draws=(0.2, 0.3, 0.1))

    async def main() -> None:
        for _ in range(3):
            status, answer = await graph.ask("/infer")
            assert status == 200 and "parameters" not in answer
        await settle()

    asyncio.run(main())
    assert [one[4] for one in graph.asked] == [True, True]
    assert graph.noticed == [("3", "why", "explained")] * 2


@pytest.mark.parametrize(
    ("path", "headers"), [("/versions/3/infer", {}), ("/infer", {"x-anabranch-mirror": "2"})]
)
def test_what_is_not_live_traffic_is_not_sampled(path: str, headers: dict[str, str]) -> None:
    graph = Graph(explainers=SAMPLED, draws=(0.0,))

    async def main() -> None:
        assert (await graph.ask(path, headers))[0] == 200
        await settle()

    asyncio.run(main())
    assert not graph.asked and not graph.noticed


def test_samples_beyond_the_bounds_are_dropped_and_counted() -> None:
    limits = RequestLimits(max_samples=2)
    graph = Graph(forever, SAMPLED, draws=(0.0,) * 9, limits=limits)

    async def main() -> None:
        for _ in range(5):
            assert (await graph.ask("/infer"))[0] == 200
        await settle()
        assert len(graph.asked) == 2
        await graph.arms.close()

    asyncio.run(main())
    outcomes = [outcome for _, _, outcome in graph.noticed]
    assert outcomes == ["dropped"] * 3 + ["failed"] * 2


def test_a_sample_is_what_came_and_not_what_components_made_of_it() -> None:
    async def in_place(inputs: Any, context: Context) -> dict[str, Any]:
        inputs["x"] *= 0
        return {"doubled": inputs["x"], "rows": np.array(2)}

    graph = Graph(explainers=SAMPLED, draws=(0.0,), step=in_place)

    async def main() -> None:
        await graph.ask("/infer")
        await settle()

    asyncio.run(main())
    assert graph.asked[0][2]["x"].tolist() == [[1, 2], [3, 4]]
