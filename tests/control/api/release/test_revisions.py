"""What the control API says of a revision's spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anabranch.client.bundle.packing import pack
from anabranch.client.bundle.unpacking import write_files
from anabranch.control.lifecycle import operations
from anabranch.control.release.examples import MAX_BYTES
from tests.control.control_api import SPEC, TestControl

REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, 2.5]}]}
WARM = SPEC + "  warmup: {data: request.json}\n"


@pytest.fixture
def engine(tmp_path: Path) -> TestControl:
    return TestControl(tmp_path)


def deploy(engine: TestControl, spec: str, **files: bytes) -> None:
    content = {name.replace("_", "."): text for name, text in files.items()}
    source = engine.folder / "warm"
    write_files({"graph.yaml": spec.replace("NAME", "digits").encode(), **content}, source)
    body = pack(source / "graph.yaml", 2**22).data
    status, answer = engine.call("POST", "/graphs/digits/revisions", body=body)
    assert status == 202, answer


def example(engine: TestControl, revision: int = 1) -> Any:
    status, found = engine.call("GET", f"/graphs/digits/revisions/{revision}/example")
    assert status == 200, found
    return found


def test_the_plan_of_a_revision(engine: TestControl) -> None:
    engine.deploy()
    status, plan = engine.call("GET", "/graphs/digits/revisions/1/plan")
    assert status == 200
    assert [segment["name"] for segment in plan["segments"]] == ["head", "two"]
    assert plan["nodes"]["two"]["inputs"] == {"x": "one"}
    assert plan["outputs"] == {"y": {"source": "two", "type": None}}


def test_an_example_is_the_request_of_the_warmup(engine: TestControl) -> None:
    deploy(engine, WARM, request_json=json.dumps(REQUEST).encode())
    assert example(engine) == {"source": "warmup", "request": REQUEST}


@pytest.mark.parametrize(
    "content", [b"no json", b"\xff\xfe", b"[" * 100_000, b" " * MAX_BYTES + b"{}"]
)
def test_what_is_no_example_is_made_of_zeros(engine: TestControl, content: bytes) -> None:
    deploy(engine, WARM, request_json=content)
    zeros = {"name": "x", "datatype": "FP32", "shape": [1], "data": [0]}
    assert example(engine) == {"source": "zeros", "request": {"inputs": [zeros]}}


def test_texts_are_the_word_text_and_what_would_be_too_large_is_left_out(
    engine: TestControl,
) -> None:
    texts = SPEC.replace("FP32, shape: [-1]", "BYTES, shape: [2, -1]")
    engine.deploy(spec=texts)
    assert example(engine)["request"]["inputs"][0]["data"] == ["text", "text"]
    engine.deploy(spec=SPEC.replace("shape: [-1]", "shape: [4096, 4096]"))
    assert example(engine, 2) == {"source": "zeros", "request": None}


def test_differences_are_from_the_revision_before_or_from_any(engine: TestControl) -> None:
    engine.deploy()
    engine.deploy(spec=SPEC.replace(", placement: {isolate: true}", ""))
    engine.deploy()
    status, found = engine.call("GET", "/graphs/digits/revisions/2/diff")
    assert status == 200
    assert (found["from"], found["to"]) == (1, 2)
    assert found["spec"] == ["~ node two: placement"]
    assert found["files"] == ["~ graph.yaml"]
    assert "- segment two" in found["plan"]
    assert "\n-    two:" in found["text"] and "\n+    two:" in found["text"]
    same = engine.call("GET", "/graphs/digits/revisions/3/diff", "from=1")[1]
    assert (same["spec"], same["plan"], same["files"], same["text"]) == ([], [], [], "")


def test_the_first_revision_differs_in_nothing_from_itself(engine: TestControl) -> None:
    engine.deploy()
    found = engine.call("GET", "/graphs/digits/revisions/1/diff")[1]
    assert (found["from"], found["to"], found["text"]) == (1, 1, "")


@pytest.mark.parametrize("what", ["plan", "example", "diff"])
def test_what_is_not_there_is_said(engine: TestControl, what: str) -> None:
    assert engine.call("GET", f"/graphs/nobody/revisions/1/{what}")[0] == 404
    engine.deploy()
    status, answer = engine.call("GET", f"/graphs/digits/revisions/9/{what}")
    assert status == 404 and "9" in answer["error"]
    status, answer = engine.call("GET", "/graphs/digits/revisions/1/diff", "from=x")
    assert status == 400 and "from='x'" in answer["error"]
    for operation in (operations.deleted, operations.gone):
        engine.change("digits", operation)
    assert engine.call("GET", f"/graphs/digits/revisions/1/{what}")[0] == 200


def test_the_newest_events_come_in_order(engine: TestControl) -> None:
    engine.up(3)
    engine.deploy("other")
    every = engine.call("GET", "/events", "graph=digits")[1]["events"]
    newest = engine.call("GET", "/events", "graph=digits&newest=3")[1]["events"]
    assert newest == every[-3:]
    of_all = engine.call("GET", "/events", "newest=1")[1]["events"]
    assert [event["graph"] for event in of_all] == ["other"]
    assert engine.call("GET", "/events", "newest=1001")[0] == 400


def test_the_list_of_graphs_has_their_rollouts_in_short(engine: TestControl) -> None:
    engine.up(1)
    engine.deploy(query='intent={"kind":"rollout","rollout":{"steps":[5,50],"hold":"2m"}}')
    engine.arrive(2)
    (found,) = engine.call("GET", "/graphs")[1]["graphs"]
    assert found["rollout"] == {"revision": 2, "phase": "running", "weight": 5.0}
