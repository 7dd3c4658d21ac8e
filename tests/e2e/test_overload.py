"""Requests that cannot be answered in time are refused at once, over both protocols."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from anabranch.router.grpc.messages import InferRequest, path, response_type
from anabranch.router.oip.raw_tensors import encode_raw
from tests.e2e.conftest import Given, error, node, spec
from tests.engines import BODY, Engine
from tests.waiting import until

pytestmark = pytest.mark.e2e

CLIENTS = 12
WARM_UP = 30
"""Requests until it is known how long one takes that does not wait: the first takes long."""
PATIENCE_S = 0.1
CODE = """
import os
import time


class Gated:
    def __init__(self, passes: str) -> None:
        self.passes = passes

    def transform(self, x):
        while True:
            time.sleep(0.005)  # too long for the event loop, so that it never runs there
            for name in os.listdir(self.passes):
                os.unlink(os.path.join(self.passes, name))
                return x
"""


class Passes:
    """Passes of a node, which lets one request through for each of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.given = 0

    def give(self, count: int = 1) -> None:
        for number in range(self.given, self.given + count):
            (self.folder / str(number)).touch()
        self.given += count


def hurried(engine: Engine, name: str) -> httpx.Response:
    """Ask with little time."""
    body: Any = {**BODY, "parameters": {"timeout": int(PATIENCE_S * 1e6)}}
    return engine.infer(name, body)


def hurried_call(engine: Engine, name: str) -> grpc.RpcError:
    """Ask likewise over gRPC, by the deadline of the call; what it fails with."""
    x = np.ones((1, 2), np.float32)
    message = InferRequest(model_name=name)
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    message.raw_input_contents.append(encode_raw(x, "FP32"))
    with grpc.insecure_channel(f"127.0.0.1:{engine.ports.grpc}") as channel:
        grpc.channel_ready_future(channel).result(60)
        ask = channel.unary_unary(
            path("ModelInfer"),
            request_serializer=InferRequest.SerializeToString,
            response_deserializer=response_type("ModelInfer").FromString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            # A deadline that the client keeps itself would end the call before the reply.
            message.parameters["timeout"].int64_param = int(PATIENCE_S * 1e6)
            ask(message, timeout=60)
    return caught.value


@pytest.mark.parametrize("isolate", [False, True], ids=["router", "segment"])
def test_a_deadline_that_cannot_be_met_is_refused_before_the_node_is_asked(
    given: Given, engine: Engine, isolate: bool
) -> None:
    passes = Passes(given.folder / "passes")
    gated = node("Gated", args={"passes": str(passes.folder)}, placement={"isolate": isolate})
    name = given.deployed(spec("overload-segment" if isolate else "overload-router", y=gated), CODE)
    for _ in range(WARM_UP):
        passes.give()
        assert engine.infer(name).status_code == 200
    with ThreadPoolExecutor(CLIENTS) as clients:
        waiting = [clients.submit(engine.infer, name) for _ in range(CLIENTS)]
        try:
            refused = _refused(engine, name, passes)
            text = error(refused, 503)
            assert text.startswith(f"graph '{name}' cannot answer within 0.1s, the time this")
            assert int(refused.headers["retry-after"]) >= 1
            call = hurried_call(engine, name)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            assert call.details().startswith(f"graph '{name}' cannot answer within")
            assert not list(passes.folder.iterdir())
        finally:
            passes.give(CLIENTS)
        assert {each.result().status_code for each in waiting} == {200}


def _refused(engine: Engine, name: str, passes: Passes) -> httpx.Response:
    """Let requests through one by one, until it is known how long that takes; the refusal then.

    Nothing is known before three have ended: till then a request waits in vain for its time.
    """
    statuses = []
    for _ in range(CLIENTS // 2):
        reply = hurried(engine, name)
        statuses.append(reply.status_code)
        if reply.status_code == 503:
            return reply
        passes.give()
        until(lambda: not list(passes.folder.iterdir()))
    raise AssertionError(f"it was never refused: {statuses}")
