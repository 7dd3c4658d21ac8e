"""Embeddings: the vectors among a graph's outputs, and the document that holds them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import numpy as np
import orjson

from anabranch.router.errors import UnencodableOutput
from anabranch.router.http.doors.openai.errors import FieldError
from anabranch.router.http.doors.openai.inputs import FLOATS, Embedding
from anabranch.router.inference.contract import Array, InferenceResponse, OutputTensor

_PROMPT_TOKENS = "prompt_tokens"


def vectors_of(response: InferenceResponse) -> Array:
    """Return the vectors in a response, FP32 ``[n, d]``; UnencodableOutput where there are none."""
    floats = [output for output in response.outputs if output.datatype in FLOATS]
    if len(floats) != 1 or not 0 < floats[0].array.ndim <= 2:
        raise UnencodableOutput(
            f"graph {response.model_name!r} gives no embeddings: one output of floats [n, d] is "
            f"needed, and it has {', '.join(map(_shown, floats)) or 'none'}"
        )
    return np.atleast_2d(floats[0].array.astype(np.float32))


def _shown(output: OutputTensor) -> str:
    return f"{output.name} {output.datatype}{list(output.array.shape)}"


def document(responses: Sequence[InferenceResponse], asked: Embedding, model: str) -> bytes:
    """Return the answer of ``/embeddings``, as ``openai/types/create_embedding_response.py``.

    Raises UnencodableOutput where there is not a vector for each text, and FieldError where vectors
    are shorter than ``dimensions``; longer ones are cut, and given length 1 again.
    """
    found = [row for response in responses for row in vectors_of(response)]
    if len(found) != asked.count:
        raise UnencodableOutput(
            f"graph {model!r} gives {len(found)} vectors for {asked.count} texts"
        )
    write = _base64 if asked.is_base64 else np.ascontiguousarray
    data = [
        {"object": "embedding", "index": index, "embedding": write(_cut(row, asked.dimensions))}
        for index, row in enumerate(found)
    ]
    body = {"object": "list", "data": data, "model": model, **_usage(responses)}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _cut(row: Array, dimensions: int | None) -> Array:
    """As OpenAI does it: https://platform.openai.com/docs/guides/embeddings, "dimensions"."""
    if dimensions is None or len(row) == dimensions:
        return row
    if len(row) < dimensions:
        raise FieldError("dimensions", f"the vectors have {len(row)} dimensions, not {dimensions}")
    short = row[:dimensions]
    length = float(np.linalg.norm(short))
    return short / length if length else short


def _base64(row: Array) -> str:
    """Little-endian 32-bit floats, as OpenAI's Python package reads them."""
    return b64encode(row.astype("<f4").tobytes()).decode()


def _usage(responses: Sequence[InferenceResponse]) -> dict[str, dict[str, int]]:
    """The tokens of the inputs, where the graph tells them for all."""
    counts = [
        int(output.array.sum())
        for response in responses
        for output in response.outputs
        if output.name == _PROMPT_TOKENS and output.array.dtype.kind in "iu"
    ]
    if not counts or len(counts) != len(responses):
        return {}
    total = sum(counts)
    return {"usage": {"prompt_tokens": total, "total_tokens": total}}
