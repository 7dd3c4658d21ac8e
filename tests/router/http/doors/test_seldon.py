"""Seldon's protocol over real HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.seldon.answers import ROUTING_TAG
from anabranch.router.traffic import feedback as feedback_module
from tests.router.conftest import make_arms
from tests.router.seldon.graphs import ROUTES, doubled, seldon_app, seldon_arms

Serve = Callable[[Any], str]
PLACE = "/seldon/default/demo/api/v1.0"
ROWS = {"data": {"ndarray": [[1.0, 2.0]]}}


@pytest.fixture
def graph(serve: Serve) -> Callable[..., str]:
    """Serve a graph, with what ``seldon_arms`` takes; returns its address."""
    return lambda *args, **fields: serve(seldon_app(seldon_arms(*args, **fields))[0])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for unknown ids but a moment."""
    monkeypatch.setattr(feedback_module, "_PAUSE_S", 0.001)
    monkeypatch.setattr(feedback_module, "ON_ITS_WAY_S", 0.003)


def predict(url: str, message: Any = ROWS, **more: Any) -> httpx.Response:
    return httpx.post(f"{url}{PLACE}/predictions", json=message, **more)


def answered(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def failed(response: httpx.Response, status: int) -> str:
    """Check all that holds for every error; returns its text."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (told,) = response.json().items()
    assert told[0] == "status"
    assert told[1]["code"] == status and told[1]["status"] == "FAILURE"
    assert told[1]["reason"].isupper()
    assert "Traceback" not in response.text
    return str(told[1]["info"])


async def echo(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"y": inputs["x"]}


@pytest.mark.parametrize(
    "path",
    [
        "/seldon/default/demo/api/v1.0", "/seldon/default/demo/api/v0.1", "/seldon/demo/api/v1.0",
        "/api/v1.0", "/api/v0.1",
    ],
)  # fmt: skip
def test_predictions_have_the_paths_of_the_executor(graph: Callable[..., str], path: str) -> None:
    found = answered(httpx.post(f"{graph()}{path}/predictions", json=ROWS))
    assert found["data"] == {"names": ["t:0", "t:1"], "ndarray": [[2.0, 4.0]]}


def test_a_graph_of_a_namespace_is_found_there(graph: Callable[..., str]) -> None:
    url = graph(name="team/demo")
    path = "/api/v1.0/predictions"
    answered(httpx.post(f"{url}/seldon/team/demo{path}", json=ROWS))
    assert httpx.post(f"{url}/seldon/demo{path}", json=ROWS).status_code == 404


def test_a_graph_without_the_protocol_says_how_it_is_turned_on(serve: Serve) -> None:
    url = serve(GraphApp(make_arms()))
    assert "protocols: [seldon]" in failed(predict(url), 404)
    url = serve(GraphApp(make_arms(everywhere=["seldon"])))
    answered(predict(url))


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        ({"data": {"ndarray": [[1, 2]]}}, {"ndarray": [[2.0, 4.0]]}),
        ({"data": {"ndarray": [1, 2]}}, {"ndarray": [[2.0, 4.0]]}),
        ({"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}},
         {"tensor": {"shape": [1, 2], "values": [2.0, 4.0]}}),
        ({"data": {"tensor": {"shape": [1, 2], "values": ["NaN", "-Infinity"]}}},
         {"tensor": {"shape": [1, 2], "values": ["NaN", "-Infinity"]}}),
        ({"data": {"tensor": {"shape": [0, 2]}}}, {"tensor": {"shape": [0, 2], "values": []}}),
        ({"jsonData": {"x": [[1, 2]]}}, {"tensor": {"shape": [1, 2], "values": [2.0, 4.0]}}),
    ],
)  # fmt: skip
def test_numbers_come_back_as_they_were_sent(
    graph: Callable[..., str], message: Any, payload: Any
) -> None:
    found = answered(predict(graph(), message))["data"]
    assert found == {"names": ["t:0", "t:1"], **payload}


@pytest.mark.parametrize(
    ("shape", "content", "message", "payload"),
    [
        ((), "text", {"strData": "hé"}, {"strData": "hé"}),
        ((-1,), "text", {"strData": "a"}, {"strData": "a"}),
        ((-1,), "raw", {"binData": base64.b64encode(b"\xff\x00").decode()},
         {"binData": base64.b64encode(b"\xff\x00").decode()}),
        ((), "raw", {"binData": base64.b64encode(b"a").decode()},
         {"binData": base64.b64encode(b"a").decode()}),
        ((), "raw", {"binData": "_-8"}, {"binData": "/+8="}),
        ((), "text", {"jsonData": {"a": [1, {"b": None}]}}, {"jsonData": {"a": [1, {"b": None}]}}),
        ((-1,), "text", {"jsonData": [1, "x"]}, {"jsonData": [1, "x"]}),
        ((), "text", {"strData": '{"a": 1}'}, {"jsonData": {"a": 1}}),
        ((-1, -1), "text", {"data": {"ndarray": [["a", "b"], ["c", "d"]]}},
         {"data": {"names": ["t:0", "t:1"], "ndarray": [["a", "b"], ["c", "d"]]}}),
        ((-1,), "text", {"data": {"ndarray": ["a"]}}, {"data": {"names": [], "ndarray": ["a"]}}),
    ],
)  # fmt: skip
def test_texts_and_bytes_come_back_as_they_were_sent(
    graph: Callable[..., str], shape: tuple[int, ...], content: str, message: Any, payload: Any
) -> None:
    url = graph(echo, inputs={"x": ("BYTES", shape)}, content=content)
    found = answered(predict(url, message))
    del found["meta"]
    assert found == payload


async def listed(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"y": np.array(["b"], object)}


@pytest.mark.parametrize(
    ("shape", "message", "payload"),
    [
        ((), {"strData": "a"}, {"data": {"names": [], "ndarray": ["b"]}}),
        ((), {"binData": "YQ=="}, {"data": {"names": [], "ndarray": ["b"]}}),
        ((1,), {"strData": "a"}, {"strData": "b"}),
        ((-1,), {"binData": "YQ=="}, {"binData": "Yg=="}),
    ],
)
def test_a_list_of_one_text_is_a_list_where_the_input_is_none(
    graph: Callable[..., str], shape: tuple[int, ...], message: Any, payload: Any
) -> None:
    found = answered(predict(graph(listed, inputs={"x": ("BYTES", shape)}), message))
    del found["meta"]
    assert found == payload


@pytest.mark.parametrize(
    ("datatype", "values"),
    [("INT32", [1, 2]), ("UINT8", [0, 255]), ("BOOL", [0, 1]), ("FP32", [0.1, -3]),
     ("INT64", [-(2**63), 2**63 - 1]), ("BF16", [1.5, 2.0]), ("FP16", [0.5, 65504.0])],
)  # fmt: skip
def test_a_tensor_is_cast_to_the_datatype_of_the_input(
    graph: Callable[..., str], datatype: str, values: list[Any]
) -> None:
    url = graph(echo, inputs={"x": (datatype, (1, 2))})
    found = answered(predict(url, {"data": {"tensor": {"shape": [1, 2], "values": values}}}))
    payload = found["data"]
    flat = payload["tensor"]["values"] if "tensor" in payload else payload["ndarray"][0]
    assert flat == pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize(
    ("datatype", "value", "words"),
    [("INT32", 1.5, "float"), ("INT32", 2**31, "2147483648"), ("UINT8", -1, ">= 0"),
     ("BOOL", 2, "neither 0 nor 1"), ("FP32", 1e39, "<"), ("FP64", None, "null"),
     ("FP64", "1", "Infinity"), ("INT32", "NaN", "not a whole"),
     ("BYTES", 1, "send `data.ndarray`, `strData`")],
)  # fmt: skip
def test_a_number_that_does_not_fit_is_named(
    graph: Callable[..., str], datatype: str, value: Any, words: str
) -> None:
    url = graph(echo, inputs={"x": (datatype, (-1,))})
    message = {"data": {"tensor": {"shape": [2], "values": [0, value]}}}
    assert words in failed(predict(url, message), 400)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({}, "one field of data, strData, binData, jsonData"),
        ({"data": {}}, "one field of ndarray, tensor"),
        ({"data": {"ndarray": [[1, 2]], "tensor": {}}}, "holds ndarray, tensor"),
        ({"strData": "a", "jsonData": 1}, "holds strData, jsonData"),
        ({"data": {"tftensor": {"dtype": "DT_FLOAT"}}}, "a TensorProto takes TensorFlow"),
        ({"customData": {"@type": "x"}}, "send `binData` or `jsonData`"),
        ({"strData": "a"}, "holds numbers; send `data.ndarray`"),
        ({"jsonData": {"z": 1}}, "there is no input 'z'"),
        ({"jsonData": {}}, "missing input 'x'"),
        ({"jsonData": 7}, "as an object of x FP64[-1, 2]"),
        ({"binData": "?"}, "no base64"),
        ({"data": {"ndarray": 5}}, "no list"),
        ({"data": {"ndarray": [[1, 2], [3]]}}, "elements"),
        ({"data": {"ndarray": [[1, 2, 3]]}}, "must be FP64[-1, 2], got FP64[1, 3]"),
        ({"data": {"ndarray": [["a", "b"]]}}, "str"),
        ({"data": {"ndarray": [[1, 2]]}, "meta": {"puid": "x" * 1025}}, "limit of 1024"),
        ({"data": {"ndarray": [[1, 2]]}, "meta": {"tags": {"t": "x" * 2000}}}, "limit is 1024"),
        ([], "not a SeldonMessage"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_message_is_said(
    graph: Callable[..., str], message: Any, words: str
) -> None:
    assert words in failed(predict(graph(), message), 400)


def test_several_inputs_take_an_object_and_several_outputs_are_one(
    graph: Callable[..., str],
) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"y": inputs["x"] + inputs["n"], "z": inputs["t"]}

    inputs = {"x": ("FP64", (-1,)), "n": ("INT32", ()), "t": ("BYTES", (-1,))}
    url = graph(step, inputs=inputs, outputs=("y", "z"))
    found = answered(predict(url, {"jsonData": {"x": [1, 2], "n": 3, "t": ["a", "b"]}}))
    assert found["jsonData"] == {"y": [4.0, 5.0], "z": ["a", "b"]}
    text = failed(predict(url), 400)
    assert "x FP64[-1], n INT32[], t BYTES[-1]" in text and "send `jsonData`" in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_json_lacks(graph: Callable[..., str], value: float) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"y": np.array([[value, 1.0]])}

    url = graph(step)
    assert answered(predict(url))["data"]["ndarray"] == [[None, 1.0]]
    sent = {"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}}
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    assert answered(predict(url, sent))["data"]["tensor"]["values"] == [words, 1.0]


def test_an_output_that_no_payload_can_carry_is_the_fault_of_the_graph(
    graph: Callable[..., str],
) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"y": np.array([b"\xff", b"a"], object)}

    assert "output 'y': element 0 is not text" in failed(predict(graph(step)), 500)


def test_the_puid_is_that_of_the_message_or_of_the_header_or_made_up(
    graph: Callable[..., str],
) -> None:
    url = graph()
    found = predict(url, {**ROWS, "meta": {"puid": "own"}})
    assert (found.json()["meta"]["puid"], found.headers["seldon-puid"]) == ("own", "own")
    found = predict(url, headers={"Seldon-Puid": "head"})
    assert (found.json()["meta"]["puid"], found.headers["seldon-puid"]) == ("head", "head")
    found = predict(url, {**ROWS, "meta": {"puid": "own"}}, headers={"Seldon-Puid": "head"})
    assert (found.json()["meta"]["puid"], found.headers["seldon-puid"]) == ("own", "head")
    made = predict(url)
    assert made.json()["meta"]["puid"] == made.headers["seldon-puid"]
    assert made.headers["seldon-puid"] != predict(url).headers["seldon-puid"]
    wrong = predict(url, {}, headers={"Seldon-Puid": "head"})
    assert wrong.headers["seldon-puid"] == "head"
    strange = predict(url, {**ROWS, "meta": {"puid": "é\n"}})
    assert strange.json()["meta"]["puid"] == "é\n" and "seldon-puid" not in strange.headers


def test_tags_travel_through_the_graph_and_what_nobody_knows_comes_back(
    graph: Callable[..., str],
) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        assert context.tags == {"mine": 1, "kept": "a"}
        assert context.id == "p"
        context.tags["mine"] = 2
        context.tags["more"] = True
        return {"y": inputs["x"]}

    deep = {"list": [1, {"a": None}], "none": None, "large": 10**30}
    meta = {"puid": "p", "tags": {"mine": 1, "kept": "a", **deep}, "requestPath": {"a": "b:1"}}
    found = answered(predict(graph(step), {**ROWS, "meta": meta}))["meta"]
    assert found["tags"] == {"mine": 2, "kept": "a", "more": True, **deep}
    assert found["requestPath"] == {"a": "b:1", "demo": "demo:3"}


def test_names_reach_components_and_components_name_outputs(graph: Callable[..., str]) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        assert context.names == {"x": ["a", "b"]}
        context.names["forest"] = ["cat", "dog"]
        return {"y": inputs["x"]}

    url = graph(step, sources={"y": "forest"})
    message = {"data": {"names": ["a", "b"], "ndarray": [[1, 2]]}}
    assert answered(predict(url, message))["data"]["names"] == ["cat", "dog"]


def test_measures_are_the_metrics_of_the_reply(graph: Callable[..., str]) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        context.measure("calls", 1)
        context.measure("depth", -2.5, "gauge")
        context.measure("took", 0.25, "timer")
        return {"y": inputs["x"]}

    assert answered(predict(graph(step)))["meta"]["metrics"] == [
        {"key": "calls", "type": "COUNTER", "value": 1.0},
        {"key": "depth", "type": "GAUGE", "value": -2.5},
        {"key": "took", "type": "TIMER", "value": 250.0},
    ]


@pytest.mark.parametrize(
    ("route", "number"), [("forest", 0), ("net", 1), ("both", -1), ("none", -2)]
)
def test_routing_is_by_number(graph: Callable[..., str], route: str, number: int) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        context.path["chooser"] = route
        return {"y": inputs["x"]}

    url = graph(
        step,
        routers={"chooser": ("forest", "net", "both", "none")},
        broadcasts={"chooser": "both"},
        skips={"chooser": "none"},
    )
    meta = answered(predict(url))["meta"]
    assert meta["routing"] == {"chooser": number}
    assert json.loads(meta["tags"][ROUTING_TAG])["path"] == {"chooser": route}


@pytest.mark.parametrize(
    "sent",
    [
        {"data": {"json": json.dumps(ROWS)}},
        {"files": {"data": (None, json.dumps(ROWS["data"]))}},
        {"files": {"jsonData": ("input.json", b'{"x": [[1, 2]]}')}},
        {"content": json.dumps(ROWS), "headers": {"content-type": "text/plain"}},
        {"content": json.dumps(ROWS),
         "headers": {"content-type": "application/x-www-form-urlencoded"}},
    ],
)  # fmt: skip
def test_forms_are_taken_as_the_wrapper_takes_them(graph: Callable[..., str], sent: Any) -> None:
    response = httpx.post(f"{graph()}{PLACE}/predictions", **sent)
    data = answered(response)["data"]
    assert data.get("ndarray") == [[2.0, 4.0]] or data["tensor"]["values"] == [2.0, 4.0]


def test_a_file_is_an_element_of_bytes(graph: Callable[..., str]) -> None:
    url = graph(echo, inputs={"x": ("BYTES", ())}, content="raw")
    files = {"binData": ("a.png", b"\x89PNG\xff"), "meta": (None, b'{"puid": "p"}')}
    found = answered(httpx.post(f"{url}{PLACE}/predictions", files=files))
    assert base64.b64decode(found["binData"]) == b"\x89PNG\xff"
    assert found["meta"]["puid"] == "p"


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"data": {"jsn": "{}"}}, "no field `json`"),
        ({"files": {"dta": (None, "{}")}}, "no field 'dta'"),
        ({"files": {"data": (None, "{")}}, "`data` is not JSON"),
        ({"files": {"strData": (None, b"\xff")}}, "not text in UTF-8"),
        ({"files": [("strData", (None, "a")), ("strData", (None, "b"))]}, "there twice"),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}}, ""),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, "boundary"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_form_is_said(
    graph: Callable[..., str], sent: Any, words: str
) -> None:
    assert words in failed(httpx.post(f"{graph()}{PLACE}/predictions", **sent), 400)


def test_metadata_are_those_of_one_model(graph: Callable[..., str]) -> None:
    url = graph()
    model = answered(httpx.get(f"{url}{PLACE}/metadata/demo"))
    assert (model["name"], model["inputs"]) == (
        "demo", [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}],
    )  # fmt: skip
    assert answered(httpx.get(f"{url}{PLACE}/metadata")) == {
        "name": "demo",
        "models": {"demo": model},
        "graphinputs": model["inputs"],
        "graphoutputs": model["outputs"],
    }
    failed(httpx.get(f"{url}{PLACE}/metadata/other"), 404)


def test_health_is_that_of_the_graph(serve: Serve) -> None:
    arms = seldon_arms()
    url = serve(seldon_app(arms)[0])
    paths = ["/ready", "/api/v1.0/status", "/api/v1.0/health/status", "/api/v1.0/status/demo"]
    for path in ["/live", *paths]:
        assert httpx.get(url + path).status_code == 200, path
        assert httpx.get(f"{url}/seldon/default/demo{path}").status_code == 200, path
    arms.routing.stable.core._head.why_not = "node 'forest' is gone"  # type: ignore[attr-defined]
    for path in paths:
        assert httpx.get(f"{url}/seldon/default/demo{path}").status_code == 503, path
    assert httpx.get(f"{url}/live").status_code == 200


def test_the_page_of_the_graph_is_where_seldon_has_it(graph: Callable[..., str]) -> None:
    url = graph()
    found = httpx.get(f"{url}{PLACE}/doc/", follow_redirects=True)
    assert found.status_code == 200 and "swagger" in found.text
    document = httpx.get(f"{url}/v2/models/demo/openapi.json").json()
    content = document["paths"][f"{PLACE}/predictions"]["post"]["requestBody"]["content"]
    answered(predict(url, content["application/json"]["example"]))


def test_a_body_over_the_limit_is_refused(graph: Callable[..., str]) -> None:
    url = graph(limits=RequestLimits(max_body=1000))
    assert "1000 bytes" in failed(predict(url, {"strData": "x" * 2000}), 413)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"names": ["a"] * 20_000, "ndarray": [[1, 2]]}, "more than 4096"),
        ({"names": ["a"] * 5000, "ndarray": [[1, 2]]}, "at most 4096"),
        ({"tensor": {"shape": [1] * 300, "values": [1]}}, "more than 64"),
        ({"tensor": {"shape": [2], "values": ["NaN"] * 20_000}}, "texts among them"),
        ({"ndarray": [[1.0] * 2**17]}, "elements"),
    ],
)
def test_what_a_body_holds_is_bounded(graph: Callable[..., str], data: Any, words: str) -> None:
    url = graph(limits=RequestLimits(max_decoded=2**20, max_elements=2**16))
    found = predict(url, {"data": data})
    assert words in failed(found, found.status_code) and found.status_code in (400, 413)


def test_an_error_of_a_node_names_it(graph: Callable[..., str]) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        raise NodeError("forest", "no trees")

    assert "forest" in failed(predict(graph(step)), 500)


def test_other_methods_and_paths_have_seldons_form(graph: Callable[..., str]) -> None:
    url = graph()
    assert "use POST" in failed(httpx.get(f"{url}{PLACE}/predictions"), 405)
    failed(httpx.post(f"{url}{PLACE}/prediction"), 404)


def test_rewards_find_their_decision_by_the_response(serve: Serve) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        context.path["chooser"] = "net"
        return await doubled(inputs, context)

    app, source = seldon_app(seldon_arms(step, routers=ROUTES))
    url = serve(app)
    response = answered(predict(url))
    feedback = {"request": ROWS, "response": response, "reward": 0.5}
    found = answered(httpx.post(f"{url}{PLACE}/feedback", json=feedback))
    assert found["meta"]["tags"] == {"counted": True, "reward": 0.5}
    assert found["status"] == {"code": 200, "status": "SUCCESS"}
    (entry,) = source.counted.values()
    assert entry.decision.path == {"chooser": "net"}
    assert (entry.decision.id, entry.reward) == (response["meta"]["puid"], 0.5)
    again = answered(httpx.post(f"{url}{PLACE}/feedback", json=feedback))
    assert again["meta"]["tags"] == {"counted": False, "reward": 0.5}
    del response["meta"]["tags"]
    by_puid = {"response": {"meta": {"puid": response["meta"]["puid"]}}}
    again = answered(httpx.post(f"{url}{PLACE}/feedback", json=by_puid))
    assert again["meta"]["tags"]["counted"] is False
    forged = {**feedback, "response": {"meta": {"tags": {ROUTING_TAG: "{}"}}}}
    assert "routing" in failed(httpx.post(f"{url}{PLACE}/feedback", json=forged), 400)


@pytest.mark.parametrize(
    ("feedback", "status", "words"),
    [
        ({"reward": 1}, 400, "Seldon-Puid".lower()),
        ({"response": {"meta": {"puid": "never"}}}, 404, "no request with id 'never'"),
        ({"response": {"meta": {"puid": "a"}}, "reward": 1e10}, 400, "<= 1000000000"),
        ({"response": {"meta": {"puid": "a"}}, "reward": "1"}, 400, "not a Feedback message"),
        ([], 400, "not a Feedback message"),
    ],
)
def test_what_is_wrong_with_feedback_is_said(
    graph: Callable[..., str], quick: None, feedback: Any, status: int, words: str
) -> None:
    url = graph(routers=ROUTES)
    assert words in failed(httpx.post(f"{url}{PLACE}/feedback", json=feedback), status)


@pytest.mark.parametrize(
    ("truth", "agreed"),
    [
        ({"data": {"ndarray": [1, 0]}}, 1),
        ({"data": {"ndarray": [[1.0], [1.0]]}}, 2),
        ({"data": {"tensor": {"shape": [2, 1], "values": [0, 0]}}}, 0),
        ({"data": {"ndarray": [[0, 1], [0, 1]]}}, None),
        ({"jsonData": {"a": 1}}, None),
        (None, None),
    ],
)
def test_the_truth_is_judged_where_it_has_labels(
    serve: Serve, truth: Any, agreed: int | None
) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"y": np.array([1, 1])}

    arms = seldon_arms(step, routers=ROUTES)
    url = serve(seldon_app(arms)[0])
    response = answered(predict(url, {"data": {"ndarray": [[1, 2], [3, 4]]}}))
    sent = {"response": response, "reward": 1.0, "truth": truth}
    found = answered(httpx.post(f"{url}{PLACE}/feedback", json=sent))
    rewards = arms.report().arm(3).rewards
    assert (rewards.right, rewards.judged) == ((agreed, 2) if agreed is not None else (0, 0))
    told = found["status"].get("info", "")
    assert ("not judged" in told) == (truth is not None and agreed is None)


def test_a_reward_that_nothing_learns_from_is_told_so(graph: Callable[..., str]) -> None:
    url = graph()
    sent = {"response": answered(predict(url)), "reward": 1.0}
    found = answered(httpx.post(f"{url}{PLACE}/feedback", json=sent))
    assert found["meta"]["tags"] == {"counted": False}
    assert "nothing learns" in found["status"]["info"]
