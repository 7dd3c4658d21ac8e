"""The runtime ``rest``: a node that sends a JSON document to a URL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

from anabranch.components.contract import DEFAULT_OUTPUT, Context
from anabranch.components.documents.statuses import failure, is_success
from anabranch.components.documents.tensors import (
    DOCUMENT,
    STATUS,
    STATUS_TYPE,
    check_document,
    document_of,
    to_document,
    to_status,
)
from anabranch.components.registry import register
from anabranch.components.runtimes.open_inference.addresses import address_mistakes
from anabranch.components.runtimes.open_inference.server import (
    RemoteRuntime,
    RemoteServer,
    retry_after,
)
from anabranch.components.runtimes.signatures import no_method
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import Mistake
from anabranch.specs.excerpts import shown
from anabranch.specs.models import HEADER_NAME, Predictor, TensorSpec

_OWN_HEADERS = frozenset(
    (
        *("accept-encoding", "connection", "content-length", "host", "keep-alive", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    )
)
"""Headers of one connection, which no request hands on."""


@register("predictor", "rest")
class RestService(RemoteRuntime):
    """Posts a JSON document to ``url``, and gives the document that is answered.

    The node's input is one document: a tensor of BYTES of one element, sent as it is. So is the
    output ``output``. Any answer of 200 to 299 is a success. Any other makes the node fail: 503 as
    Unavailable, 504 as DeadlineExceeded, any other from 400 on with that status, which the client
    gets, unless the node's ``retries`` or ``on_error`` help. With ``accept: any`` such an answer is
    given as well, and a second output ``status`` has its status, INT32[1].

    The request's deadline, id and trace travel along, and the ``headers`` that are named. HTTPS
    needs a certificate that certifi trusts, or the file in the variable SSL_CERT_FILE. Redirects
    are not followed.

    Args:
        url: URL of the service, http(s)://host[:port][/path][?query].
        accept: Answers that are given: of a `success` only, or of `any` status.
        headers: Names of the request's headers that the service gets too.
    """

    def __init__(
        self,
        node_name: str,
        *,
        url: str,
        accept: Literal["success", "any"] = "success",
        headers: list[str] | None = None,
    ) -> None:
        self._node, self._accepts_any = node_name, accept == "any"
        self._headers = tuple(name.lower() for name in headers or ())
        super().__init__(RemoteServer(url, f"the server of node {node_name!r}"))

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the types of the outputs; TypeConflict for an input that is no document."""
        for name, spec in inputs.items():
            check_document(name, spec)
        outputs: dict[str, TensorSpec | None] = {DEFAULT_OUTPUT: DOCUMENT}
        return {**outputs, STATUS: STATUS_TYPE} if args.get("accept") == "any" else outputs

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find several inputs, fields that have no meaning here, and URLs and headers that fail."""
        if len(node.inputs) != 1:
            yield ("inputs",), "the runtime 'rest' sends one document, so it takes one input"
        yield from address_mistakes(node, is_whole=True)
        if node.batching is not None:
            yield ("batching",), "documents are sent one by one"
        yield from no_method(node)
        for index, name in enumerate(cast(list[str], node.args.get("headers") or [])):
            if not re.fullmatch(HEADER_NAME, name):
                yield ("args", "headers", index), f"{shown(name)} is no name of a header"
            elif name.lower() in _OWN_HEADERS:
                yield ("args", "headers", index), f"{shown(name)} belongs to a connection"

    async def predict(self, /, *, context: Context, **inputs: Array) -> Any:
        """Return the document that the service answers, with its status if any is accepted.

        Raises:
            Unavailable: the server cannot be reached, or answered 503.
            DeadlineExceeded: there was no answer before the request's deadline, or one of 504.
            StatusError: the server answered another status of no success.
            BadAnswer: the answer is over the bound.
        """
        ((name, array),) = inputs.items()
        answer = await self._server.asked(
            "", document_of(array, name), self._sent(context), context
        )
        document = to_document(answer.body)
        if self._accepts_any:
            return {DEFAULT_OUTPUT: document, STATUS: to_status(answer.status)}
        if not is_success(answer.status):
            raise failure(self._node, answer.status, answer.body, retry_after(answer.headers))
        return document

    def _sent(self, context: Context) -> Mapping[str, str]:
        given = {name: context.headers[name] for name in self._headers if name in context.headers}
        return {"content-type": "application/json", **given}
