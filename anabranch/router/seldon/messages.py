"""Predictions that SeldonMessages of any transport ask for, as requests of the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from anabranch.components.annotations import Annotations, Tag
from anabranch.errors import InvalidRequest
from anabranch.router.inference.contract import InferenceRequest, ModelMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.seldon.payloads import Payload, PayloadKind, inputs_of
from anabranch.router.traffic.decisions import MAX_ID
from anabranch.specs.excerpts import listing

PUID = "seldon-puid"
"""Header, and metadata of gRPC, with the id of a prediction."""
PAYLOADS = ("data", "strData", "binData", "jsonData")
"""Fields of a message of which one holds the payload."""
ARRAYS = ("ndarray", "tensor")
"""Fields of ``data`` of which one holds the payload."""
MAX_SHAPE = 64
"""Most sizes in a shape that is read at all; there are fewer dimensions."""
_REFUSED = {
    "tftensor": "a TensorProto takes TensorFlow to read; send `tensor` or `ndarray`",
    "customData": "its type is known to nobody here; send `binData` or `jsonData`",
}
"""Payloads that are refused: the reason, and what to send instead."""


class JsonText:
    """A value of a message that nobody looks into, as JSON."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


class Prediction(NamedTuple):
    """A prediction that a graph is asked for, and what the reply takes from its message."""

    request: InferenceRequest
    kind: PayloadKind
    tags: Mapping[str, Tag | JsonText]
    request_path: Mapping[str, str]


class PredictionMessage(NamedTuple):
    """A prediction that a client asks for."""

    payload: Payload
    puid: str = ""
    """The id of the prediction by the message; empty where it names none."""
    tags: Mapping[str, Tag | JsonText] = {}
    request_path: Mapping[str, str] = {}
    names: Sequence[str] = ()
    """Names of the columns of ``data``."""

    def prediction(self, metadata: ModelMetadata, limits: RequestLimits, puid: str) -> Prediction:
        """Return the prediction by the graph of the metadata.

        ``puid`` stands for an id that the message does not name. Raises InvalidRequest and
        TooLarge.
        """
        puid = self.puid or puid
        check_puid(puid)
        inputs = inputs_of(self.payload, metadata.inputs, limits)
        request = InferenceRequest(inputs, id=puid, annotations=self._annotations(inputs))
        return Prediction(request, self.payload.kind, self.tags, self.request_path)

    def _annotations(self, inputs: Mapping[str, Any]) -> Annotations | None:
        """Return what components may know of the message beside its payload.

        Tags that are objects, lists or null come back in the reply, and go no further.
        """
        found = Annotations()
        try:
            for name, tag in self.tags.items():
                if not isinstance(tag, JsonText):
                    found.tags[name] = tag
            if self.names:
                (only,) = inputs
                found.names[only] = [*self.names]
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        return found or None


def fits_header(puid: str) -> bool:
    """Return whether an id of a prediction can stand in a header."""
    return bool(puid) and puid.isascii() and puid.isprintable() and puid == puid.strip()


def check_puid(puid: str) -> None:
    """Raise InvalidRequest for the id of a prediction that is too long."""
    if len(puid) > MAX_ID:
        raise InvalidRequest(f"the puid has {len(puid)} characters, over the limit of {MAX_ID}")


def only_payload(present: Sequence[str], choices: Sequence[str], where: str) -> str:
    """Return the only field that is present of those that may hold a payload.

    InvalidRequest where there is none, or several, or one that is refused.
    """
    for name in present:
        if name in _REFUSED:
            raise InvalidRequest(f"`{name}` is not taken: {_REFUSED[name]}")
    if len(present) != 1:
        given = f"holds {listing(present)}" if present else "holds none of them"
        raise InvalidRequest(f"{where} has one field of {listing(choices)}; this one {given}")
    return present[0]
