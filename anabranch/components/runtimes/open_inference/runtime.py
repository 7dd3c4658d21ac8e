"""The runtime ``open_inference``: a node that calls a model on another server."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from anabranch.components.contract import CannotLoad, Context
from anabranch.components.registry import register
from anabranch.components.runtimes.open_inference.addresses import address_mistakes
from anabranch.components.runtimes.open_inference.health import Health
from anabranch.components.runtimes.open_inference.server import (
    RemoteError,
    RemoteRuntime,
    loading,
    remote_model,
)
from anabranch.components.runtimes.open_inference.wire import (
    LENGTH_HEADER,
    BadAnswer,
    Request,
    decode,
    encode,
)
from anabranch.components.runtimes.signatures import no_method, order_of, plain
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.model_types import ModelTensor
from anabranch.errors import DeadlineExceeded, Mistake, Unavailable
from anabranch.names import GRAPH_NAME
from anabranch.specs.excerpts import hint, listing, shown
from anabranch.specs.models import HEADER_NAME, Predictor

_BINARY = "binary_tensor_data"
"""The extension's name among those of a server's metadata."""
_OWN_HEADERS = frozenset(
    {"connection", "content-length", "content-type", "host", "transfer-encoding", LENGTH_HEADER}
)
_NOT_THERE = (RemoteError, BadAnswer, Unavailable, DeadlineExceeded)
logger = logging.getLogger("anabranch.components")


@register("predictor", "open_inference")
class OpenInferenceModel(RemoteRuntime):
    """Calls the model ``model`` (and ``version``) of the server at ``url``, such as a Triton.

    When the graph is loaded, the model must be ready and take the node's inputs by name; a single
    input may have any name. A single output is ``output``, several outputs keep their names, and
    so does a single one where the node has ``optional_outputs``; ``outputs`` selects outputs. A
    node with a ``quorum`` may leave out inputs of the model.
    Tensors travel as raw bytes where the server's metadata name the extension, else as JSON;
    ``binary`` overrides the metadata.

    The request's deadline, id and trace travel along. A server that is away or overloaded makes the
    node fail with Unavailable, so that the node's ``retries`` and ``on_error`` apply; a server
    whose model is not ready gets no requests for a while.

    Args:
        url: Address of the server, http(s)://host[:port][/prefix].
        model: Name of the model there.
        version: Version of the model there; the server's choice if left out.
        outputs: Outputs of the model that are asked for; all of them if left out.
        binary: Whether tensors travel as raw bytes; if left out, the server's metadata decide.
        headers: Headers of every request, as name: text, such as those by which a mesh finds the
            model; no secrets, for the spec is stored.
    """

    partial = True
    """Whether the model may leave out outputs, and be called without some of the inputs."""

    def __init__(
        self,
        node: Predictor,
        *,
        url: str,
        model: str,
        version: str | None = None,
        outputs: list[str] | None = None,
        binary: bool | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self._node, self._outputs, self._binary = node, tuple(outputs or ()), binary
        self._optional = frozenset(node.optional_outputs or ())
        self._path = f"/v2/models/{in_path(model)}"
        if version is not None:
            self._path += f"/versions/{quote(version, safe='')}"
        super().__init__(remote_model(url, model))
        self._headers = dict(headers or {})
        self._names = {name: name for name in node.inputs}
        self._health = Health()

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find a model or method, and a URL that is not plain http or https."""
        yield from address_mistakes(node, "url: …, model: …")
        yield from no_method(node)
        headers: Any = node.args.get("headers") or {}
        for name, value in headers.items():
            if not re.fullmatch(HEADER_NAME, name) or name.lower() in _OWN_HEADERS:
                yield ("args", "headers", name), "is no header that a request may be given"
            elif not (value.isascii() and value.isprintable()):
                yield ("args", "headers", name), f"{shown(value)} is no text of a header"

    async def load(self) -> None:
        """Check that the model is ready and has the node's signature; else raise CannotLoad."""
        with loading():
            await self._server.probe(f"{self._path}/ready", self._headers)
            metadata = await self._server.get(self._path, self._headers)
            if self._binary is None:
                self._binary = await self._knows_binary()
        self._agree(metadata)

    async def check_health(self) -> None:
        """Ask whether the model is ready, and remember the answer.

        Raise no error: a new replica would not mend another server.
        """
        try:
            await self._server.probe(f"{self._path}/ready", self._headers)
        except _NOT_THERE as error:
            if self._health.is_ready():
                logger.warning("requests are held back: %s", error)
            self._health.note_unready()
        else:
            self._health.note_ready()

    async def predict(self, /, *, context: Context, **inputs: Array) -> Any:
        """Return the remote model's outputs.

        Raises:
            Unavailable: the server cannot be reached, is overloaded, or said that it is not ready.
            DeadlineExceeded: the server gave no answer before the request's deadline.
            RemoteError: the server refused the request, or failed.
            BadAnswer: the server's answer does not follow the protocol.
        """
        if not self._health.is_ready():
            raise Unavailable(f"{self._server} is not ready")
        named = {self._names[name]: array for name, array in inputs.items()}
        request = Request(context.id, _parameters(context), self._outputs)
        body, length = encode(request, named, bool(self._binary))
        headers, answer = await self._server.post(
            f"{self._path}/infer", body, {**self._headers, **_headers(length)}, context
        )
        return self._named(decode(answer, headers.get(LENGTH_HEADER)))

    async def _knows_binary(self) -> bool:
        try:
            metadata = await self._server.get("/v2", self._headers)
        except (RemoteError, BadAnswer):
            return False
        extensions = metadata.get("extensions") if isinstance(metadata, dict) else None
        return isinstance(extensions, list) and _BINARY in extensions

    def _agree(self, metadata: Any) -> None:
        """Take the names of the model's inputs; CannotLoad where the signatures do not fit."""
        inputs, outputs = _types(metadata, "inputs"), _types(metadata, "outputs")
        if inputs:
            self._names = self._named_inputs(list(inputs))
            self.input_types = {own: ModelTensor(inputs[name]) for own, name in self._names.items()}
        if not outputs:
            return
        for name in self._outputs:
            if name not in outputs:
                raise CannotLoad(f"{self._server} has no output {name!r}{hint(name, outputs)}")
        self.output_types = {
            plain(name): ModelTensor(outputs[name]) for name in self._outputs or outputs
        }

    def _named_inputs(self, names: list[str]) -> dict[str, str]:
        """Return the model's inputs by parameter; those beyond a quorum may be left out."""
        known = {plain(name): name for name in names}
        if self._node.quorum is None or len(self._node.inputs) == len(names):
            return dict(zip(order_of(self._node, names, str(self._server)), names, strict=True))
        for parameter in self._node.inputs:
            if parameter not in known:
                raise CannotLoad(
                    f"{self._server} has no input {parameter!r}{hint(parameter, known)}"
                )
        return {parameter: known[parameter] for parameter in self._node.inputs}

    def _named(self, outputs: Mapping[str, Array]) -> Any:
        asked = set(self._outputs) - self._optional
        missing = [name for name in self._outputs if name in asked - outputs.keys()]
        if missing or not (outputs or self._optional):
            raise BadAnswer(f"{self._server} left out the outputs {listing(missing) or 'all'}")
        if len(outputs) == 1 and not self._optional:
            return next(iter(outputs.values()))
        return {plain(name): array for name, array in outputs.items()}


def in_path(model: str) -> str:
    """Return a model's name for paths. That of a graph in a namespace keeps its slash.

    So the edge of an anabranch finds the graph's routers, which it does by the path as it came.
    """
    return quote(model, safe="/" if re.fullmatch(GRAPH_NAME, model) else "")


def _headers(length: int | None) -> dict[str, str]:
    if length is None:
        return {"content-type": "application/json"}
    return {"content-type": "application/octet-stream", LENGTH_HEADER: str(length)}


def _parameters(context: Context) -> dict[str, Any]:
    """Return the request's parameters, with the time that it has left in microseconds.

    ``timeout`` is Triton's parameter, which anabranch takes too.
    """
    remaining = context.remaining()
    if remaining is None:
        return dict(context.parameters)
    return {**context.parameters, "timeout": max(1, int(remaining * 1e6))}


def _types(metadata: Any, side: str) -> dict[str, str | None]:
    """Return name: datatype of the inputs or outputs that a model's metadata list.

    Shapes are left to the server: what metadata say of them differs from kind to kind.
    """
    try:
        return {str(one["name"]): one.get("datatype") for one in metadata.get(side) or ()}
    except (KeyError, TypeError, AttributeError):
        raise CannotLoad(
            f"the remote model's metadata list no {side} as the protocol says"
        ) from None
