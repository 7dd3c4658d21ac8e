"""Graphs behind doors: applications that answer by all protocols, and what asks them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from anabranch.components.contract import Context
from anabranch.graph.plan.plan import ExplainerTerms, Signature
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.explaining import ExplainersOf, nothing_explains
from anabranch.specs.models import PROTOCOLS, Content, InputSpec, ProtocolName, TensorSpec
from tests.router.conftest import StepHead, make_table

Types = Mapping[str, tuple[str, tuple[int, ...]]]
Step = Callable[[Mapping[str, Any], Context], Coroutine[Any, Any, dict[str, Any]]]


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def error(self, status: int) -> str:
        """Check the form of an error; return its message."""
        assert self.status == status, self.body
        ((name, told),) = self.document.items()
        assert name == "error" and len(self.body) <= 2048 and "Traceback" not in told
        return str(told)


class DoorGraph:
    """A graph of one step, asked through ASGI, of revisions 3, the stable one, and 4."""

    def __init__(
        self,
        step: Step,
        inputs: Types,
        outputs: Mapping[str, TensorSpec | None] | None = None,
        protocols: tuple[ProtocolName, ...] = PROTOCOLS,
        engine: tuple[ProtocolName, ...] = (),
        raw: tuple[str, ...] = (),
        images: tuple[str, ...] = (),
        name: str = "demo",
        explainers: Mapping[str, ExplainerTerms] | None = None,
        explains: ExplainersOf = nothing_explains,
        limits: RequestLimits | None = None,
        optional_outputs: frozenset[str] = frozenset(),
    ) -> None:
        contents: dict[str, Content] = {
            **dict.fromkeys(raw, "raw"),
            **dict.fromkeys(images, "image"),
        }
        types = {
            key: InputSpec(datatype=datatype, shape=shape, content=contents.get(key, "text"))
            for key, (datatype, shape) in inputs.items()
        }
        signature = Signature(
            types,
            outputs or {},
            60.0,
            explainers or {},
            protocols=protocols,
            optional_outputs=optional_outputs,
        )
        self.head = StepHead(step)
        self.name = name
        self.arms = Arms(
            name,
            lambda revision: self.head,
            limits or RequestLimits(),
            explainers=explains,
            everywhere=engine,
        )
        table = make_table({3: 100.0, 4: 0.0}, revisions={3: signature, 4: signature})
        self.arms.apply(replace(table, graph=name))
        self.app = GraphApp(self.arms)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """Post a document, or bytes as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, data, headers)

    def get(self, path: str) -> Reply:
        return self.ask("GET", path, b"")

    def ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return asyncio.run(asyncio.wait_for(self._ask(method, path, body, headers or {}), 60))

    async def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        received = iter([{"type": "http.request", "body": body}])
        sent: list[Any] = []

        async def receive() -> Any:
            message = next(received, None)
            if message is None:
                await asyncio.Event().wait()
            return message

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": raw}
        await self.app(scope, receive, send)
        start, *rest = sent
        told = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Reply(start["status"], told, b"".join(one["body"] for one in rest))


async def echo(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Answer with the inputs themselves."""
    return dict(inputs)


async def shop(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Answer with a price for each row, a label, and how many rows there were."""
    total = inputs["size"].reshape(-1) * np.float32(2) + inputs["age"].reshape(-1)
    labels = np.array([f"{word}!" for word in inputs["word"].ravel()], object)
    return {"price": total.astype(np.float32).reshape(-1, 1), "label": labels}


SHOP: Types = {
    "size": ("FP32", (-1, 1)),
    "age": ("INT32", (-1,)),
    "word": ("BYTES", (-1,)),
}
SHOP_OUTPUTS = {
    "price": TensorSpec(datatype="FP32", shape=(-1, 1)),
    "label": TensorSpec(datatype="BYTES", shape=(-1,)),
}


def shop_graph(**given: Any) -> DoorGraph:
    return DoorGraph(shop, SHOP, SHOP_OUTPUTS, **given)


def echo_graph(inputs: Types, **given: Any) -> DoorGraph:
    """A graph whose outputs are its inputs."""
    types = {
        name: TensorSpec(datatype=datatype, shape=shape)
        for name, (datatype, shape) in inputs.items()
    }
    return DoorGraph(echo, inputs, types, **given)
