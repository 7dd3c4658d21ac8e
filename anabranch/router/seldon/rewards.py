"""Feedback messages as rewards of a graph.

The decision that a reward is for is that of the ``response`` in the message: by the signed routing
in its tags, else by its ``puid``, or the one in the call's header. All routers on the path of the
prediction learn from it, as Seldon's feedback descends by ``response.meta.routing``: the path that
was signed or remembered counts here, not what a message says of it. A ``reward`` that is left out
is 0, as proto3 has it. ``truth`` is judged where it has a label for each row: n labels, or n lists
of one. Of the ``request`` components get the payload that take rewards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec

from anabranch.errors import InvalidRequest
from anabranch.router.inference.contract import ModelMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.helper_process import by_size
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.seldon.answers import ROUTING_TAG
from anabranch.router.seldon.json_messages import MetaFields
from anabranch.router.seldon.messages import PUID, PredictionMessage, check_puid
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import GivenReward, JudgedRequest
from anabranch.router.traffic.labels import Label

UNJUDGED = "the truth was not judged: it has no label for each row"
UNDECIDED = (
    "the reward was not counted: nothing learns from it in a graph of no router and one revision"
)


Decode: TypeAlias = Callable[[bytes], PredictionMessage | None]
"""Reads the request that feedback repeats, in the encoding of its transport."""


class Told(NamedTuple):
    """A reward that a message tells of."""

    given: GivenReward
    is_judged: bool
    """Whether all that the message says of the truth is in ``given``."""
    request: bytes = b""
    """The request that the message repeats, in the encoding of its transport; empty for none."""


class _Response(msgspec.Struct, gc=False):
    meta: MetaFields | None = None


class _Feedback(msgspec.Struct, gc=False):
    request: msgspec.Raw = msgspec.Raw(b"null")
    response: _Response | None = None
    reward: float | None = None
    truth: msgspec.Raw = msgspec.Raw(b"null")


class _Tensor(msgspec.Struct, gc=False):
    shape: list[int]
    values: list[Label]


class _Data(msgspec.Struct, gc=False):
    ndarray: list[Label | tuple[Label]] | None = None
    tensor: _Tensor | None = None


class _Truth(msgspec.Struct, gc=False):
    data: _Data | None = None
    strData: str | None = None


_decode = msgspec.json.Decoder(_Feedback).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_truth = msgspec.json.Decoder(_Truth | None).decode


def decode_feedback(body: Buffer, puid: str) -> Told:
    """Decode a feedback message in JSON; ``puid`` is the one in the call's header, if any.

    Raises InvalidRequest.
    """
    message = parsed(_decode, body, "the body", "not a Feedback message")
    meta = (message.response or _Response()).meta or MetaFields()
    tag = (meta.tags or {}).get(ROUTING_TAG)
    signed = None if tag is None else parsed(_decode_text, tag, f"the tag `{ROUTING_TAG}`")
    id = meta.puid or puid
    if not signed and not id:
        raise InvalidRequest(
            "nobody knows which prediction this is about: give the `response` that it had, with "
            f"its `meta.puid`, or the header {PUID}"
        )
    check_puid(id)
    truth = bytes(message.truth)
    labels = _labels(truth)
    named = {"routing": signed} if signed else {"id": id}
    fields = {**named, "reward": message.reward or 0.0, "truth": labels}
    given = parsed(_checked, fields, "the feedback")  # type: ignore[arg-type]
    request = bytes(message.request)
    is_judged = labels is not None or truth == b"null"
    return Told(given, is_judged, b"" if request == b"null" else request)


async def repeated(told: Told, decode: Decode, arms: Arms) -> JudgedRequest | None:
    """Return the request that a message repeats, for components that take rewards.

    None where no component does, and for a request without a payload. ``decode`` reads a request of
    the transport. Raises InvalidRequest and TooLarge.
    """
    if not told.request or not arms.routing.stable.core.takes_feedback:
        return None
    return await by_size(told.request, _judged, decode, arms.metadata(), arms.limits)


def _judged(
    message: Buffer, decode: Decode, metadata: ModelMetadata, limits: RequestLimits
) -> JudgedRequest | None:
    found = decode(bytes(message))
    if found is None:
        return None
    request = found.prediction(metadata, limits, "").request
    names = {} if request.annotations is None else request.annotations.names
    return JudgedRequest(request.inputs, names)


def _checked(fields: Any) -> GivenReward:
    return msgspec.convert(fields, GivenReward)


def _labels(truth: bytes) -> list[Label] | None:
    """Return the labels of the rows; None where there are none."""
    try:
        found = _decode_truth(truth)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found is None:
        return None
    if found.strData is not None:
        return [found.strData]
    data = found.data or _Data()
    if data.tensor is not None:
        rows, *columns = data.tensor.shape or [0]
        is_flat = columns in ([], [1]) and rows == len(data.tensor.values)
        return data.tensor.values if is_flat else None
    if data.ndarray is None:
        return None
    return [one[0] if isinstance(one, tuple) else one for one in data.ndarray]
