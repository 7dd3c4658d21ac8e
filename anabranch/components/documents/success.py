"""The transformer ``require_success``: a document whose status must be a success."""

from __future__ import annotations

from collections.abc import Iterable

from anabranch.components.contract import DEFAULT_OUTPUT
from anabranch.components.documents.statuses import failure, is_success
from anabranch.components.documents.tensors import (
    DOCUMENT,
    STATUS,
    check_document,
    check_status,
    document_of,
)
from anabranch.components.registry import register
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import Mistake
from anabranch.specs.models import Transformer

_INPUTS = ("document", STATUS)


@register("transformer", "require_success")
class RequireSuccess:
    """Gives its ``document`` if the ``status`` is a success, 200 to 299; else the node fails.

    They are the two outputs of a node of the runtime ``rest`` with ``accept: any``. The error is
    the one that such a node without it would have raised: so a graph can look at an answer first,
    and refuse it later. Takes BYTES[1] and INT32[1], gives BYTES[1].
    """

    def __init__(self, node_name: str) -> None:
        self._node = node_name

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the type of the document; TypeConflict for other inputs."""
        check_document("document", inputs.get("document"))
        check_status(STATUS, inputs.get(STATUS))
        return {DEFAULT_OUTPUT: DOCUMENT}

    @staticmethod
    def check(node: Transformer) -> Iterable[Mistake]:
        """Find other inputs than a document and its status."""
        if set(node.inputs) != set(_INPUTS):
            yield ("inputs",), f"require_success takes the inputs {' and '.join(_INPUTS)}"

    def transform(self, /, *, document: Array, status: Array) -> Array:
        """Return the document; raise the error of its status."""
        found = int(status.item(0))
        if not is_success(found):
            raise failure(self._node, found, document_of(document, "document"))
        return document
