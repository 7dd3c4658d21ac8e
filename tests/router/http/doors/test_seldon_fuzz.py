"""Whatever Seldon's clients send, they are answered in Seldon's form, and never with a fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.router.http.doors.form_body import MULTIPART, URLENCODED
from anabranch.router.traffic import feedback
from tests.router.seldon.graphs import ROUTES, seldon_app, seldon_arms
from tests.strategies import json_values

GRAPHS: list[dict[str, Any]] = [
    {},
    {"inputs": {"x": ("INT32", (-1,))}},
    {"inputs": {"x": ("BOOL", (2, -1))}},
    {"inputs": {"x": ("BYTES", ())}, "content": "raw"},
    {"inputs": {"x": ("BYTES", (-1, -1))}},
    {"inputs": {"x": ("FP32", ()), "t": ("BYTES", (-1,))}, "outputs": ("y", "t")},
]
fields = st.sampled_from(
    ["meta", "data", "strData", "binData", "jsonData", "customData", "ndarray", "tensor", "names",
     "shape", "values", "puid", "tags", "requestPath", "response", "request", "truth", "reward",
     "anabranch_routing", "x", "t"]
)  # fmt: skip
leaves = json_values | st.text(max_size=4) | st.lists(st.lists(st.integers(-3, 300), max_size=2))
messages = st.recursive(
    leaves,
    lambda inner: st.dictionaries(fields, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)
bodies = (
    messages.map(lambda found: json.dumps(found).encode())
    | st.binary(max_size=64)
    | st.text(max_size=64).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.builds(
        lambda name, data: (
            b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n--b--\r\n'
            % (name.encode(), data)
        ),
        fields,
        st.binary(max_size=32),
    )
)
types = st.sampled_from(["", "application/json", URLENCODED, f"{MULTIPART}; boundary=b", MULTIPART])


async def same(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    found = dict(inputs)
    context.path["chooser"] = "net"
    return {"y": found.pop("x"), **found}


async def asked(app: Any, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
    received = iter([{"type": "http.request", "body": body}])
    sent: list[Any] = []

    async def receive() -> Any:
        message = next(received, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
    await app({"type": "http", "method": "POST", "path": path, "headers": raw}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize("word", ["predictions", "feedback"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(range(len(GRAPHS))), bodies, types,
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=8),
)  # fmt: skip
def test_whatever_comes_is_answered_in_seldons_form(
    monkeypatch: pytest.MonkeyPatch, word: str, number: int, body: bytes, kind: str, puid: str
) -> None:
    monkeypatch.setattr(feedback, "_PAUSE_S", 0.0)
    monkeypatch.setattr(feedback, "ON_ITS_WAY_S", 0.0)
    app, _ = seldon_app(seldon_arms(same, routers=ROUTES, **GRAPHS[number]))
    headers = {"content-type": kind, "seldon-puid": puid}
    status, found = asyncio.run(asked(app, f"/api/v1.0/{word}", body, headers))
    assert status == 200 or 400 <= status < 500, found
    if status != 200:
        assert found["status"]["status"] == "FAILURE" and found["status"]["code"] == status
        assert found["status"]["info"] and "Traceback" not in found["status"]["info"]
