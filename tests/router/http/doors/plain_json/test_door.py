"""The endpoint ``predict`` of a graph, as curl, web pages and programs ask it."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.router.limits import RequestLimits
from anabranch.specs.models import TensorSpec
from tests.router.http.doors.door_graphs import DoorGraph, echo_graph, shop_graph
from tests.router.oip.test_fuzz import EXAMPLES, JSON, LEAK, PIECES

PREDICT = "/v2/models/demo/predict"
FORM = {"content-type": "application/x-www-form-urlencoded"}
PIXELS = b"\x89PNG\r\n\x1a\n\x00\xff"
Serve = Callable[[Any], str]


def test_values_in_and_out() -> None:
    given = {"size": 1.5, "age": [3], "word": "a", "id": "7"}
    reply = shop_graph().post(PREDICT, given)
    assert (reply.status, reply.document) == (200, {"price": 6.0, "label": "a!", "id": "7"})
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["anabranch-revision"] == "3"


def test_records_in_and_out() -> None:
    rows = [{"size": 1, "age": 2, "word": "a"}, {"size": 2, "age": 3, "word": "b"}]
    reply = shop_graph().post(PREDICT, {"rows": rows})
    assert reply.document == {
        "rows": [{"price": 4.0, "label": "a!"}, {"price": 7.0, "label": "b!"}]
    }


def test_columns_in_and_out() -> None:
    columns = {"size": [1, 2], "age": [2, 3], "word": ["a", "b"]}
    reply = shop_graph().post(PREDICT, {"columns": columns, "outputs": ["price"]})
    assert reply.document == {"columns": {"price": [4.0, 7.0]}}


def test_a_revision_by_its_number() -> None:
    given = {"size": 1.5, "age": 3, "word": "a"}
    reply = shop_graph().post("/v2/models/demo/versions/4/predict", given)
    assert (reply.status, reply.headers["anabranch-revision"]) == (200, "4")
    assert "'demo' has no revision '9'" in shop_graph().post(
        "/v2/models/demo/versions/9/predict", given
    ).error(404)


def test_a_page_sends_a_form() -> None:
    reply = shop_graph().post(PREDICT, b"size=1.5&age=3&word=a+b&outputs=label", FORM)
    assert reply.document == {"label": "a b!"}


def test_a_page_sends_files() -> None:
    graph = echo_graph({"scan": ("BYTES", (-1,)), "n": ("INT32", (-1,))}, raw=("scan",))
    files = [("scan", ("a.png", PIXELS)), ("scan", ("b.png", b"\x00")), ("n", (None, "[1, 2]"))]
    request = httpx.Request("POST", "http://x", files=files)
    kind = {"content-type": request.headers["content-type"]}
    scans = [{"b64": base64.b64encode(PIXELS).decode()}, "\x00"]
    reply = graph.post(PREDICT, request.read(), kind)
    assert reply.document == {"scan": scans, "n": [1, 2]}
    again = graph.post(PREDICT, {"scan": [scans[0], "AA=="], "n": [1, 2]})
    assert again.document == reply.document


def test_images_in_each_form() -> None:
    pillow = pytest.importorskip("PIL.Image")
    graph = echo_graph({"scan": ("UINT8", (-1, -1, -1, 3))}, images=("scan",))
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    stream = io.BytesIO()
    pillow.fromarray(pixels).save(stream, "PNG")
    file, text = stream.getvalue(), base64.b64encode(stream.getvalue()).decode()
    one = pixels.tolist()

    def form(*files: Any) -> Any:
        request = httpx.Request("POST", "http://x", files=[("scan", given) for given in files])
        return graph.post(
            PREDICT, request.read(), {"content-type": request.headers["content-type"]}
        ).document

    assert graph.post(PREDICT, {"scan": text}).document == {"scan": [one]}
    assert graph.post(PREDICT, {"scan": one}).document == {"scan": [one]}
    assert graph.post(PREDICT, {"columns": {"scan": [text, {"b64": text}]}}).document == {
        "columns": {"scan": [one, one]}
    }
    rows = {"rows": [{"scan": text}, {"scan": f"data:image/png;base64,{text}"}]}
    assert graph.post(PREDICT, rows).document == {"rows": [{"scan": one}] * 2}
    assert form(("a.png", file)) == {"scan": [one]}
    assert form(("a.png", file), ("b.png", file)) == {"scan": [one, one]}
    assert form((None, text)) == form((None, json.dumps(one))) == {"scan": [one]}
    v1 = graph.post("/v1/models/demo:predict", {"instances": [{"b64": text}]})
    assert v1.document == {"predictions": [one]}
    assert "is no PNG or JPEG" in graph.post(PREDICT, {"scan": "aGVsbG8="}).error(400)
    assert "is no PNG or JPEG" in form(("a.png", b"\x89PNG but no more"))["error"]
    assert "is not JSON" in form(("a.png", file), (None, text))["error"]


def test_json_is_json_whatever_it_is_called() -> None:
    body = b' \n{"size": 1.5, "age": 3, "word": "a"}'
    for kind in (FORM, {}, {"content-type": "text/plain"}, {"content-type": "application/json"}):
        assert shop_graph().post(PREDICT, body, kind).status == 200


async def odd(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    x = inputs["x"]
    return {"id": x, "total": x.sum(), "matrix": np.eye(2, dtype=np.float32), "nan": x * np.nan}


def odd_graph() -> DoorGraph:
    return DoorGraph(odd, {"x": ("FP32", (-1,))}, dict.fromkeys(["id", "total", "matrix", "nan"]))


def test_outputs_of_any_shape_and_name() -> None:
    reply = odd_graph().post(PREDICT, {"x": [1, 2, 3], "id": "own"})
    assert reply.document == {
        "total": 6.0, "matrix": [[1.0, 0.0], [0.0, 1.0]], "nan": [None] * 3, "id": "own",
        "outputs": {"id": [1.0, 2.0, 3.0]},
    }  # fmt: skip
    as_columns = odd_graph().post(PREDICT, {"columns": {"x": [1, 2, 3]}}).document["columns"]
    assert as_columns["total"] == 6.0 and as_columns["id"] == [1.0, 2.0, 3.0]


def test_an_output_without_rows_is_no_record() -> None:
    graph = odd_graph()
    told = graph.post(PREDICT, {"rows": [{"x": 1}, {"x": 2}, {"x": 3}]}).error(400)
    assert told.startswith("output 'total' of shape [] has no value for each of the 3 rows")
    assert "leave it out by 'outputs', or send 'columns'" in told
    rows = {"rows": [{"x": 1}, {"x": 2}], "outputs": ["id", "matrix"]}
    assert graph.post(PREDICT, rows).document == {
        "rows": [{"id": 1.0, "matrix": [1.0, 0.0]}, {"id": 2.0, "matrix": [0.0, 1.0]}]
    }
    assert graph.arms.report().arms[3].errors == 0


def test_an_answer_without_outputs() -> None:
    async def nothing(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {}

    optional = frozenset({"y"})
    graph = DoorGraph(nothing, {"x": ("FP32", (-1,))}, {"y": None}, optional_outputs=optional)
    assert graph.post(PREDICT, {"x": 1}).document == {}
    assert graph.post(PREDICT, {"rows": [{"x": 1}, {"x": 2}]}).document == {"rows": [{}, {}]}
    assert graph.post(PREDICT, {"columns": {"x": [1]}}).document == {"columns": {}}
    v1 = "/v1/models/demo:predict"
    assert graph.post(v1, {"instances": [1, 2]}).document == {"predictions": []}
    assert graph.post(v1, {"inputs": [1, 2]}).document == {"outputs": {}}


def test_parameters_reach_the_graph_and_come_back() -> None:
    graph = echo_graph({"x": ("FP32", (-1,))})
    graph.post(PREDICT, {"x": 1, "parameters": {"user": "u1"}})
    assert graph.head.seen[-1].parameters == {"user": "u1"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"", {}, 400, "the body is not JSON"),
        ({"size": 1}, {}, 400, "missing input 'age', 'word'"),
        ({"size": [[1, 2]], "age": 1, "word": "a"}, {}, 400, "input 'size' must be FP32[-1, 1]"),
        ({"columns": {}}, {}, 400, "missing input"),
        ({"rows": []}, {}, 200, ""),
        ({"size": 1, "age": 1, "word": "a", "outputs": ["prise"]}, {}, 400, "did you mean 'price'"),
        (b"{}", {"content-type": "multipart/form-data"}, 400, "has no boundary"),
        (b"{}", {"content-encoding": "br"}, 415, "br"),
        (b"x" * 2000, {}, 413, "over the limit of 1000 bytes"),
        ({}, {"origin": "http://evil.example", "host": "x"}, 403, "another origin"),
        ({}, {"sec-fetch-site": "cross-site"}, 403, "a web page of another origin"),
    ],
)
def test_mistakes_are_told(body: Any, headers: Mapping[str, str], status: int, words: str) -> None:
    reply = shop_graph(limits=RequestLimits(max_body=1000)).post(PREDICT, body, headers)
    if status == 200:
        assert reply.document == {"rows": []}
    else:
        assert words in reply.error(status)


def test_large_bodies_are_decoded_beside_the_event_loop() -> None:
    graph = echo_graph({"x": ("FP32", (-1, 2)), "scan": ("BYTES", (-1,))}, raw=("scan",))
    columns = {"x": [[row, 0.5] for row in range(20_000)], "scan": ["AA=="] * 20_000}
    reply = graph.post(PREDICT, {"columns": columns, "outputs": ["x"]})
    assert reply.document == {"columns": {"x": columns["x"]}}
    scan = bytes(range(256)) * 2000
    files = {"scan": scan, "x": b"[1, 2]"}
    request = httpx.Request("POST", "http://x", files=files)
    kind = {"content-type": request.headers["content-type"]}
    found = graph.post(PREDICT, request.read(), kind).document["scan"]
    assert base64.b64decode(found["b64"]) == scan
    assert graph.arms.under_way.held == 0


def test_a_node_that_fails_is_named() -> None:
    async def fails(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        raise NodeError("price", "no such shop")

    graph = DoorGraph(
        fails, {"x": ("FP32", (-1,))}, {"y": TensorSpec(datatype="FP32", shape=(-1,))}
    )
    assert "node 'price'" in graph.post(PREDICT, {"x": 1}).error(500)


def test_the_protocol_is_off_unless_the_graph_or_the_engine_turns_it_on() -> None:
    given = {"size": 1.5, "age": 3, "word": "a"}
    told = shop_graph(protocols=("v1",)).post(PREDICT, given).error(404)
    assert "turns it on by `protocols: [json]`" in told
    assert shop_graph(protocols=(), engine=("json",)).post(PREDICT, given).status == 200


def test_other_methods_are_refused() -> None:
    reply = shop_graph().get(PREDICT)
    assert "use POST" in reply.error(405) and reply.headers["allow"] == "POST"


def test_curl(serve: Serve, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    graph = echo_graph({"scan": ("BYTES", (-1,)), "n": ("INT32", (-1,))}, raw=("scan",))
    url = f"{serve(graph.app)}{PREDICT}"
    (tmp_path / "a.png").write_bytes(PIXELS)

    def ask(*options: str) -> Any:
        command = [curl, "-sS", "--fail-with-body", url, *options]
        done = subprocess.run(command, capture_output=True, timeout=30, check=True, cwd=tmp_path)
        return json.loads(done.stdout)

    scan = {"b64": base64.b64encode(PIXELS).decode()}
    assert ask("-F", "scan=@a.png", "-F", "n=3") == {"scan": scan, "n": 3}
    assert ask("-d", json.dumps({"scan": scan, "n": 3})) == {"scan": scan, "n": 3}
    assert ask("-d", "scan=a", "--data-urlencode", "n=[3]") == {"scan": "a", "n": 3}


fuzz = settings(max_examples=EXAMPLES // 3, deadline=None)
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
    b"\x00\x00\x00\x0cIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND"
    b"\xaeB`\x82"
)
"""A red pixel."""
TAKEN = {
    "x": [[1, 2]], "n": [3], "text": ["é"], "scan": "AAE=", "photo": base64.b64encode(PNG).decode(),
}  # fmt: skip
MULTIPART = (
    b'--X\r\nContent-Disposition: form-data; name="x"\r\n\r\n[1,2]\r\n'
    b'--X\r\nContent-Disposition: form-data; name="n"\r\n\r\n3\r\n'
    b'--X\r\nContent-Disposition: form-data; name="text"\r\n\r\na\r\n'
    b'--X\r\nContent-Disposition: form-data; name="scan"; filename="s"\r\n\r\n\x00\r\n'
    b'--X\r\nContent-Disposition: form-data; name="photo"; filename="p"\r\n\r\n%b\r\n--X--\r\n'
    % PNG
)
BODIES = {
    "application/json": json.dumps(TAKEN).encode(),
    "multipart/form-data; boundary=X": MULTIPART,
    "application/x-www-form-urlencoded": b"x=[1,2]&n=3&text=%C3%A9&scan=%00&photo=[[[1,2,3]]]",
}


@cache
def fuzzed() -> DoorGraph:
    pytest.importorskip("PIL.Image")
    return echo_graph(
        {
            "x": ("FP32", (-1, 2)), "n": ("UINT8", (-1,)), "text": ("BYTES", (-1,)),
            "scan": ("BYTES", ()), "photo": ("UINT8", (-1, -1, 3)),
        },
        raw=("scan",),
        images=("photo",),
        limits=RequestLimits(max_body=2**16),
    )  # fmt: skip


def judged(body: bytes, kind: str) -> int:
    reply = fuzzed().post(PREDICT, body, {"content-type": kind})
    assert reply.status in {200, 400, 413}, reply.body
    if reply.status != 200:
        assert not LEAK.search(reply.error(reply.status))
    return reply.status


@pytest.mark.parametrize("kind", BODIES)
def test_what_is_not_mutated_is_answered(kind: str) -> None:
    assert judged(BODIES[kind], kind) == 200


@pytest.mark.parametrize("kind", BODIES)
@fuzz
@given(data=st.data())
def test_mutated_bytes(kind: str, data: st.DataObject) -> None:
    body = BODIES[kind]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body = body[:at] + data.draw(PIECES) + body[at + data.draw(st.integers(0, 6)) :]
    judged(body, kind)


@fuzz
@given(st.dictionaries(st.sampled_from([*TAKEN, "rows", "columns", "id", "outputs"]), JSON))
def test_any_values(found: dict[str, Any]) -> None:
    judged(json.dumps(TAKEN | found).encode(), "application/json")
    judged(json.dumps(found).encode(), "application/json")
