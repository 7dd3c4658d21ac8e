"""The ways in which a tensor goes to a server and comes back, with the right answer known.

An encoding writes a request with one FP32 input ``x``, asks with it once, and reads the output. It
uses plain libraries and none of our own codecs, so that it notices their mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import grpc
import httpx
import numpy as np
import numpy.typing as npt
import orjson

from anabranch.router.grpc.messages import InferRequest, InferResponse, path
from benchmarks.grpc_client import OPTIONS

Floats = npt.NDArray[np.float32]

MODEL = "negate"
LENGTH = "Inference-Header-Content-Length"


class Request(NamedTuple):
    """What goes over the wire."""

    body: bytes
    headers: Mapping[str, str] = {}


class Address(NamedTuple):
    """Where a server answers."""

    http: str
    grpc: str


class Encoding(Protocol):
    """One way; ``tool`` is the load generator for it."""

    title: str
    tool: str

    def target(self, address: Address) -> str:
        """Where requests go."""

    def request(self, x: Floats) -> Request:
        """The request for ``x``."""

    def ask(self, target: str, request: Request, patience: float) -> Floats:
        """The output ``y``; OSError, httpx.HTTPError or grpc.RpcError where there is none."""


class Json:
    """Numbers as text."""

    title = "JSON over HTTP"
    tool = "python"

    def target(self, address: Address) -> str:
        return address.http

    def request(self, x: Floats) -> Request:
        tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel()}
        return Request(orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY))

    def ask(self, target: str, request: Request, patience: float) -> Floats:
        output = orjson.loads(_post(target, request, patience).content)["outputs"][0]
        return np.array(output["data"], np.float32).reshape(output["shape"])


class Binary:
    """Raw bytes behind JSON, both ways."""

    title = "binary over HTTP"
    tool = "python"

    def target(self, address: Address) -> str:
        return address.http

    def request(self, x: Floats) -> Request:
        size = {"binary_data_size": x.nbytes}
        tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "parameters": size}
        head = orjson.dumps({"parameters": {"binary_data_output": True}, "inputs": [tensor]})
        return Request(head + x.tobytes(), {LENGTH: str(len(head))})

    def ask(self, target: str, request: Request, patience: float) -> Floats:
        reply = _post(target, request, patience)
        length = int(reply.headers[LENGTH])
        output = orjson.loads(reply.content[:length])["outputs"][0]
        return np.frombuffer(reply.content, np.float32, offset=length).reshape(output["shape"])


class Grpc:
    """Raw contents in Protocol Buffers."""

    title = "raw over gRPC"
    tool = "grpc"

    def target(self, address: Address) -> str:
        return address.grpc

    def request(self, x: Floats) -> Request:
        message = InferRequest(model_name=MODEL, raw_input_contents=[x.tobytes()])
        message.inputs.add(name="x", datatype="FP32", shape=x.shape)
        return Request(message.SerializeToString())

    def ask(self, target: str, request: Request, patience: float) -> Floats:
        with grpc.insecure_channel(target, options=OPTIONS) as channel:
            data = channel.unary_unary(path("ModelInfer"))(request.body, timeout=patience)
        reply: Any = InferResponse.FromString(data)
        raw = np.frombuffer(reply.raw_output_contents[0], np.float32)
        return raw.reshape(reply.outputs[0].shape)


JSON, BINARY, GRPC = Json(), Binary(), Grpc()
ENCODINGS: tuple[Encoding, ...] = (JSON, BINARY, GRPC)


def _post(url: str, request: Request, patience: float) -> httpx.Response:
    headers = {"content-type": "application/json", **request.headers}
    with httpx.Client(trust_env=False, timeout=patience) as client:
        return client.post(url, content=request.body, headers=headers).raise_for_status()
