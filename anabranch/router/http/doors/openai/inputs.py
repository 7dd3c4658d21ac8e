"""What a body asks for: the evaluations of a graph, and what is done with their answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np
import orjson

from anabranch.components.tensors.datatypes import to_dtype
from anabranch.errors import InvalidRequest
from anabranch.router.http.doors.openai.errors import FieldError, UnknownModel, UnsuitableModel
from anabranch.router.http.doors.openai.fields import (
    MAX_CHOICES,
    BodyFields,
    StreamOptions,
    given_model,
    text_of,
    typed,
)
from anabranch.router.inference.contract import (
    Array,
    InferenceRequest,
    ModelMetadata,
    TensorMetadata,
)
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.generate import decode_generate
from anabranch.router.oip.parameters import check_parameters
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.specs.excerpts import listing

MAX_ITEMS = 2048
"""Most texts in one body, as OpenAI's embeddings take."""
FLOATS = ("FP16", "BF16", "FP32", "FP64")
_TOKENS = frozenset({"INT32", "INT64", "UINT32", "UINT64"})
_SEEDS = 2**63
T = TypeVar("T")

Role: TypeAlias = Literal["developer", "system", "user", "assistant", "tool", "function"]


class _Message(msgspec.Struct):
    role: Role
    content: str | list[dict[str, msgspec.Raw]] | None = None


_Messages: TypeAlias = Annotated[list[_Message], msgspec.Meta(min_length=1)]
_Ids: TypeAlias = Annotated[
    list[Annotated[int, msgspec.Meta(ge=0, lt=2**31)]], msgspec.Meta(min_length=1)
]
_decode_messages = msgspec.json.Decoder(_Messages).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_ids = msgspec.json.Decoder(_Ids).decode
_decode_items = msgspec.json.Decoder(
    Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
).decode


@dataclass(frozen=True)
class Generation:
    """Evaluations that give texts: each one ``each`` of them, which are choices in order."""

    requests: Sequence[InferenceRequest]
    each: int
    stops: tuple[str, ...]
    includes_usage: bool
    """Whether the last chunk of a stream tells the usage."""
    prompts: int = 1
    """Prompts that the choices answer, each as many of them."""


@dataclass(frozen=True)
class Embedding:
    """Evaluations that give vectors, in order."""

    requests: Sequence[InferenceRequest]
    count: int
    """Texts, of which an evaluation may take several."""
    is_base64: bool
    dimensions: int | None


def decode_call(
    body: Buffer,
    decode: Callable[[BodyFields, ModelMetadata, RequestLimits], T],
    must_name: bool,
    metadata: ModelMetadata,
    limits: RequestLimits,
) -> T:
    """Return what ``decode`` makes of a body; UnknownModel where it names another graph.

    Raises FieldError where it ``must_name`` its graph and does not, and as ``decode`` does.
    """
    fields = BodyFields(body)
    fields.take("stream")
    if must_name or "model" in fields:
        model = given_model(fields)
        if model != metadata.name:
            raise UnknownModel(f"there is no model {model[:128]!r} here; it is {metadata.name!r}")
    return decode(fields, metadata, limits)


def decode_chat(fields: BodyFields, metadata: ModelMetadata, limits: RequestLimits) -> Generation:
    """Decode the body of ``/chat/completions``.

    Raises InvalidRequest, TooLarge, and UnsuitableModel for a graph without input ``messages``, or
    without an output that may be text.
    """
    tensor = next((one for one in metadata.inputs if one.name == "messages"), None)
    if tensor is None or tensor.datatype != "BYTES":
        raise UnsuitableModel(
            f"graph {metadata.name!r} is no chat model: it has no input 'messages' of BYTES"
        )
    raw = fields.raw("messages")
    typed(_decode_messages, "messages", raw)
    inputs = _texts(tensor, [text_of("messages", raw)])
    return _generation(fields, metadata, limits, tensor, inputs)


def decode_completion(
    fields: BodyFields, metadata: ModelMetadata, limits: RequestLimits
) -> Generation:
    """Decode the body of ``/completions``; raises as ``decode_chat`` does."""
    tensor = _content(metadata, "prompt")
    items = _items(tensor, "prompt", fields.raw("prompt"))
    inputs = [one for item in items for one in _filled(tensor, [item])]
    return _generation(fields, metadata, limits, tensor, inputs)


def decode_embedding(
    fields: BodyFields, metadata: ModelMetadata, limits: RequestLimits
) -> Embedding:
    """Decode the body of ``/embeddings``; raises as ``decode_chat`` does."""
    tensor = _content(metadata, "input")
    _check_outputs(metadata, FLOATS, "embeddings")
    items = _items(tensor, "input", fields.raw("input"))
    inputs = _filled(tensor, items)
    _check_count(len(inputs), "input")
    form = fields.take("encoding_format")
    dimensions = fields.take("dimensions") if "dimensions" in fields else None
    others = _others(fields, metadata, tensor, limits)
    given = {} if dimensions is None else {"dimensions": dimensions}
    parameters = _checked({**fields.parameters(), **given}, limits)
    requests = [_request({tensor.name: one, **others}, parameters) for one in inputs]
    return Embedding(requests, len(items), form == "base64", dimensions)


def _generation(
    fields: BodyFields,
    metadata: ModelMetadata,
    limits: RequestLimits,
    tensor: TensorMetadata,
    inputs: Sequence[Array],
) -> Generation:
    _check_outputs(metadata, ("BYTES",), "text")
    count: int = fields.take("n") or 1
    stops = _stops(fields.take("stop"))
    options: StreamOptions = fields.take("stream_options") or StreamOptions()
    has_count = any(one.name == "n" for one in metadata.inputs)
    if has_count:
        fields.put("n", str(count).encode())
    others = _others(fields, metadata, tensor, limits)
    repeated, each = (1, count) if has_count else (count, 1)
    _check_count(len(inputs) * count, "n")
    parameters = _checked(_parameters(fields, stops), limits)
    requests = [
        _request({tensor.name: one, **others}, _seeded(parameters, at))
        for one in inputs
        for at in range(repeated)
    ]
    return Generation(requests, each, stops, options.include_usage, len(inputs))


def _parameters(fields: BodyFields, stops: Sequence[str]) -> dict[str, Any]:
    """All fields that are left, as parameters; one name for the limit of tokens."""
    if "max_completion_tokens" in fields:
        if "max_tokens" in fields:
            raise FieldError(
                "max_tokens", "give 'max_completion_tokens' or 'max_tokens', and not both"
            )
        limit = {"max_tokens": fields.take("max_completion_tokens")}
    else:
        limit = {}
    ends = {"stop": orjson.dumps(stops).decode()} if stops else {}
    return {**fields.parameters(), **limit, **ends}


def _seeded(parameters: Mapping[str, Any], at: int) -> dict[str, Any]:
    """The parameters of one of several evaluations: each has a seed of its own, as in vLLM.

    There it is the seed plus the index (``vllm/v1/engine/parallel_sampling.py``).
    """
    if at == 0 or not isinstance(seed := parameters.get("seed"), int):
        return dict(parameters)
    return {**parameters, "seed": (seed + at + _SEEDS) % (2 * _SEEDS) - _SEEDS}


def _stops(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def _content(metadata: ModelMetadata, name: str) -> TensorMetadata:
    """The input that takes the text, or its tokens."""
    for tensor in metadata.inputs:
        if tensor.name == name and (tensor.datatype == "BYTES" or tensor.datatype in _TOKENS):
            return tensor
    texts = [tensor for tensor in metadata.inputs if tensor.datatype == "BYTES"]
    if len(texts) != 1:
        raise UnsuitableModel(
            f"graph {metadata.name!r} has no input {name!r}, and not one input of BYTES alone"
        )
    return texts[0]


def _check_outputs(metadata: ModelMetadata, datatypes: Collection[str], wanted: str) -> None:
    """Raise UnsuitableModel where all outputs are known, and none is of these datatypes."""
    if metadata.is_complete and not any(one.datatype in datatypes for one in metadata.outputs):
        raise UnsuitableModel(
            f"graph {metadata.name!r} gives no {wanted}: it has no output of {listing(datatypes)}"
        )


def _items(tensor: TensorMetadata, name: str, raw: bytes) -> list[Any]:
    """The texts, or lists of tokens, in a field."""
    if raw[:1] == b'"':
        _check_takes_text(tensor, name)
        return [typed(_decode_text, name, raw)]
    found = [bytes(item) for item in typed(_decode_items, name, raw)]
    if found[0][:1] == b'"':
        _check_takes_text(tensor, name)
        return [typed(_decode_text, name, item) for item in found]
    if tensor.datatype not in _TOKENS:
        raise FieldError(
            name, f"{name!r} must be text, or a list of texts: input {tensor.name!r} is of BYTES"
        )
    if found[0][:1] == b"[":
        return [typed(_decode_ids, name, item) for item in found]
    return [typed(_decode_ids, name, raw)]


def _check_takes_text(tensor: TensorMetadata, name: str) -> None:
    if tensor.datatype != "BYTES":
        raise FieldError(
            name, f"{name!r} must be tokens: input {tensor.name!r} is of {tensor.datatype}"
        )


def _filled(tensor: TensorMetadata, items: list[Any]) -> list[Array]:
    return _texts(tensor, items) if tensor.datatype == "BYTES" else _ids(tensor, items)


def _texts(tensor: TensorMetadata, texts: list[str]) -> list[Array]:
    """Texts as the tensor takes them: all in one, or each in one of its own."""
    shape = tensor.shape
    if len(texts) > 1 and not (shape and shape[0] in (-1, len(texts))):
        return [one for text in texts for one in _texts(tensor, [text])]
    array = np.empty(len(texts), object)
    array[:] = texts
    return [array.reshape((len(texts), *(1,) * (len(shape) - 1)) if shape else ())]


def _ids(tensor: TensorMetadata, items: list[list[int]]) -> list[Array]:
    """Lists of tokens likewise; those of different lengths are never in one."""
    shape, dtype = tensor.shape, to_dtype(tensor.datatype)
    is_batch = len(shape) > 1 and shape[0] in (-1, len(items))
    if len(items) > 1 and not (is_batch and len({len(item) for item in items}) == 1):
        return [one for item in items for one in _ids(tensor, [item])]
    if len(shape) < 2:
        return [np.array(items[0], dtype)]
    return [np.array(items, dtype).reshape((*(1,) * (len(shape) - 2), len(items), -1))]


def _others(
    fields: BodyFields, metadata: ModelMetadata, taken: TensorMetadata, limits: RequestLimits
) -> dict[str, Array]:
    """The graph's further inputs, from fields of their names."""
    inputs = tuple(one for one in metadata.inputs if one is not taken)
    given = {one.name: msgspec.Raw(fields.raw(one.name)) for one in inputs if one.name in fields}
    if not given:
        return {}
    part = replace(metadata, inputs=inputs)
    return dict(decode_generate(msgspec.json.encode(given), part, limits).inputs)


def _request(inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> InferenceRequest:
    """One evaluation, which shares no array with others."""
    own = {name: array.copy() for name, array in inputs.items()}
    return InferenceRequest(own, parameters=parameters, endpoint="generate")


def _checked(parameters: dict[str, Any], limits: RequestLimits) -> dict[str, Any]:
    check_parameters([parameters], limits)
    return parameters


def _check_count(count: int, name: str) -> None:
    if count > MAX_CHOICES:
        raise InvalidRequest(
            f"{name!r} asks for {count} evaluations of the graph, and {MAX_CHOICES} is the most"
        )


Decode: TypeAlias = Callable[[BodyFields, ModelMetadata, RequestLimits], Generation]
"""Makes evaluations of the fields of a body, for the graph that the metadata describe."""
