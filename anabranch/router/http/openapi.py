"""The OpenAPI 3.1 document of a graph: its endpoints with its own tensors, and requests to try.

The examples fit the graph's signature: dimensions that may have any size are 1, numbers are 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import prod
from typing import Any, TypeAlias

from anabranch.router.errors import STATUS
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata
from anabranch.router.traffic.decisions import MAX_ID
from anabranch.router.traffic.feedback import MAX_REWARD

Json: TypeAlias = dict[str, Any]

MAX_EXAMPLE = 2**18
"""Elements of an example; a larger one would be too much for a page."""

_INTEGERS = {
    f"{prefix}INT{bits}": {
        "type": "integer",
        "minimum": 0 if prefix else -(2 ** (bits - 1)),
        "maximum": 2 ** (bits - (not prefix)) - 1,
    }
    for prefix in ("", "U")
    for bits in (8, 16, 32, 64)
}
_ELEMENTS: dict[str, Json] = {
    "BOOL": {"type": "boolean"},
    "BYTES": {"type": "string"},
    **_INTEGERS,
    **{name: {"type": "number"} for name in ("FP16", "BF16", "FP32", "FP64")},
}
"""The schema of a JSON element, by datatype."""
_TEXT = "text"
_EXAMPLES: dict[str, Any] = {"boolean": False, "string": _TEXT, "integer": 0, "number": 0.0}
_PARAMETERS: Json = {
    "type": "object",
    "description": "`timeout`, in microseconds, lowers the time that the request may take.",
    "additionalProperties": {"type": ["boolean", "number", "string"]},
}
_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_LABEL: Json = {"type": ["boolean", "number", "string"]}
_FEEDBACK: Json = {
    "type": "object",
    "additionalProperties": False,
    "oneOf": [{"required": ["id"]}, {"required": ["routing"]}],
    "anyOf": [{"required": ["reward"]}, {"required": ["truth"]}],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": MAX_ID},
        "routing": {"type": "string", "description": "That parameter of the reply."},
        "reward": {"type": "number", "minimum": -MAX_REWARD, "maximum": MAX_REWARD},
        "truth": {
            "description": "The right label, or a list of one for each row.",
            "anyOf": [_LABEL, {"type": "array", "items": _LABEL}],
        },
    },
}
_COUNTED: Json = {
    "type": "object",
    "required": ["id", "counted", "reward"],
    "properties": {
        "id": {"type": "string"},
        "counted": {"type": "boolean", "description": "False where it had its reward already."},
        "reward": {"type": "number", "description": "The one that counts."},
    },
}
_BINARY_HEADER: Json = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Bytes of the JSON in front, where tensors follow it as raw bytes.",
    "schema": {"type": "integer", "minimum": 0},
}
_OIP = "Open Inference Protocol v2"
_BINARY: Json = {"application/octet-stream": {}}


def document(
    metadata: ModelMetadata,
    path: str,
    feedback: bool = False,
    explainers: Sequence[str] = (),
    others: Sequence[Mapping[str, Any]] = (),
) -> Json:
    """The document of the graph whose endpoints are below ``path``, as JSON-able data.

    ``feedback`` says whether it takes rewards there, ``explainers`` are those that explain there.
    ``others`` are the paths of further protocols over which the graph answers.
    """
    explain = {f"{path}/explain": {"post": _explain(metadata, explainers)}} if explainers else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": metadata.name,
            "version": ", ".join(metadata.versions),
            "description": "A graph served by anabranch over the Open Inference Protocol v2.",
        },
        "paths": {
            path: {"get": _get("metadata", "Inputs and outputs of the graph")},
            f"{path}/ready": {"get": _get("ready", "Whether the graph answers")},
            f"{path}/infer": {"post": _infer(metadata)},
            **explain,
            f"{path}/generate": {"post": _generate(metadata, "generate", "application/json")},
            f"{path}/generate_stream": {
                "post": _generate(metadata, "generate_stream", "text/event-stream")
            },
            **({f"{path}/feedback": {"post": _feedback()}} if feedback else {}),
            **{at: methods for paths in others for at, methods in paths.items()},
        },
        "components": {"schemas": _schemas(metadata), "responses": {"Error": _error_response()}},
    }


def _error_response() -> Json:
    description = "What was wrong, and what would have been right."
    return {"description": description, "content": json_content(_ref("Error"))}


def json_content(schema: Json, **beside: Any) -> Json:
    """Return the content of a body in JSON; ``beside`` are examples, of which None is left out."""
    told = {name: value for name, value in beside.items() if value is not None}
    return {"application/json": {"schema": schema, **told}}


def operation(
    tag: str, name: str, summary: str, answers: Json, body: Json | None = None, **more: Any
) -> Json:
    """Return an operation with its responses; ``body`` is the content of its request, if any."""
    asked = {} if body is None else {"requestBody": {"required": True, "content": body}}
    described = {"tags": [tag], "operationId": name, "summary": summary}
    return {**described, **more, **asked, "responses": answers}


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def responses(description: str, content: Json) -> Json:
    """The good response, and an error for each status that there is."""
    error = {"$ref": "#/components/responses/Error"}
    errors = {str(int(HTTPStatus(status))): error for status in sorted(set(STATUS.values()))}
    return {"200": {"description": description, "content": content}, **errors}


def _get(name: str, summary: str) -> Json:
    return operation(_OIP, name, summary, responses(summary, json_content({"type": "object"})))


def _request(metadata: ModelMetadata, parameters: Json) -> Json:
    """A request with all inputs; its example has ``parameters`` if there are any."""
    example = request_example(metadata.inputs)
    if example is not None and parameters:
        example["parameters"] = parameters
    return json_content(_ref("InferRequest"), example=example)


def request_example(inputs: Sequence[TensorMetadata]) -> Json | None:
    """A request with tensors of zeros; None where it would be too large."""
    values = _examples(inputs)
    if values is None:
        return None
    tensors = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": _sizes(tensor),
            "data": values[tensor.name],
        }
        for tensor in inputs
    ]
    return {"inputs": tensors}


def _explain(metadata: ModelMetadata, explainers: Sequence[str]) -> Json:
    said = (
        "Parameters: `explainer`, needed where there are several "
        f"({', '.join(explainers)}); `target`, the class that is explained; `seed`; `timeout`."
    )
    return operation(
        "Explanations",
        "explain",
        "An explanation of the answer",
        responses(
            "One explanation for each row, or one of the model",
            json_content(_ref("ExplainResponse")),
        ),
        _request(metadata, {"explainer": explainers[0]}) | _BINARY,
        description=said,
        parameters=[_BINARY_HEADER],
    )


def _infer(metadata: ModelMetadata) -> Json:
    answer = json_content(_ref("InferResponse")) | _BINARY
    return operation(
        _OIP,
        "infer",
        "Inference",
        responses("The outputs that were asked for", answer),
        _request(metadata, {}) | _BINARY,
        parameters=[_BINARY_HEADER],
    )


def _generate(metadata: ModelMetadata, name: str, answer: str) -> Json:
    stream = answer == "text/event-stream"
    summary = "Inference in plain JSON"
    return operation(
        _OIP,
        name,
        f"{summary}, result by result" if stream else summary,
        responses(
            "A result in each event" if stream else "The outputs",
            {answer: {"schema": _ref("GenerateResponse")}},
        ),
        json_content(_ref("GenerateRequest"), example=plain_examples(metadata.inputs)),
    )


def _feedback() -> Json:
    answers = responses("Whether it counts", json_content(_ref("Counted")))
    asked = json_content(_ref("Feedback"))
    return operation("Feedback", "feedback", "How good an answer was", answers, asked)


def plain_examples(tensors: Sequence[TensorMetadata], raw: Any = _TEXT) -> Json | None:
    """Return a value for each tensor, one element as a scalar; None where it would be too much.

    ``raw`` stands for each element of BYTES that are no text.
    """
    values = _examples(tensors, raw)
    if values is None:
        return None
    return {tensor.name: _value(values[tensor.name], _sizes(tensor)) for tensor in tensors}


def plain_schema(tensor: TensorMetadata) -> Json:
    """Return the schema of a tensor's value in plain JSON: an element, or nested lists."""
    return {
        "description": f"{tensor.datatype}{list(tensor.shape)}",
        "anyOf": [_ELEMENTS[tensor.datatype], {"type": "array"}],
    }


def _sizes(tensor: TensorMetadata) -> list[int]:
    return [1 if size < 0 else size for size in tensor.shape]


def _examples(
    tensors: Sequence[TensorMetadata], raw: Any = _TEXT
) -> Mapping[str, list[Any]] | None:
    """Flat data for each tensor; None where it would be too much."""
    sizes = {tensor.name: prod(_sizes(tensor)) for tensor in tensors}
    if sum(sizes.values()) > MAX_EXAMPLE:
        return None
    return {tensor.name: [_example(tensor, raw)] * sizes[tensor.name] for tensor in tensors}


def _example(tensor: TensorMetadata, raw: Any) -> Any:
    return raw if tensor.content == "raw" else _EXAMPLES[_ELEMENTS[tensor.datatype]["type"]]


def _value(flat: list[Any], sizes: Sequence[int]) -> Any:
    """A tensor as generate takes it: one element by itself, others nested."""
    return flat[0] if len(flat) == 1 else nested(flat, sizes)


def nested(flat: list[Any], sizes: Sequence[int]) -> Any:
    """Return the elements of a tensor as nested lists; ``sizes`` are those of its dimensions."""
    if not sizes:
        return flat[0]
    for size in reversed(sizes[1:]):
        flat = [flat[at : at + size] for at in range(0, len(flat), size)] if size else []
    return flat


def _schemas(metadata: ModelMetadata) -> Json:
    parameters = _ref("Parameters")
    names = [tensor.name for tensor in metadata.inputs if not tensor.optional]
    return {
        "Error": _ERROR,
        "Parameters": _PARAMETERS,
        "Feedback": _FEEDBACK,
        "Counted": _COUNTED,
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string", "maxLength": 1024},
                "parameters": parameters,
                "inputs": _tensors(metadata.inputs, exact=True),
                "outputs": _asked(metadata),
            },
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "model_version", "outputs"],
            "properties": {**_header(), "outputs": _tensors(metadata.outputs, exact=False)},
        },
        "ExplainResponse": {
            "type": "object",
            "required": ["model_name", "model_version", "explainer", "method", "explanations"],
            "properties": {
                **_header(),
                "explainer": {"type": "string"},
                "method": {"type": "string"},
                "explanations": {"type": "array", "items": {"type": "object"}},
                "timing": {
                    "type": "object",
                    "properties": {
                        "seconds": {"type": "number"},
                        "model_calls": {"type": "integer"},
                        "model_rows": {"type": "integer"},
                        "cached": {"type": "boolean"},
                    },
                },
            },
        },
        "GenerateRequest": {
            "type": "object",
            "required": names if "text_input" in names or not _has_text(metadata) else [],
            "properties": {
                **{tensor.name: plain_schema(tensor) for tensor in metadata.inputs},
                "id": {"type": "string", "maxLength": 1024},
                "parameters": parameters,
            },
        },
        "GenerateResponse": {
            "type": "object",
            "required": ["model_name", "model_version"],
            "properties": _header(),
        },
    }


def _has_text(metadata: ModelMetadata) -> bool:
    return any(tensor.datatype == "BYTES" for tensor in metadata.inputs)


def _header() -> Json:
    return {name: {"type": "string"} for name in ("model_name", "model_version", "id")}


def _asked(metadata: ModelMetadata) -> Json:
    return {
        "type": "array",
        "description": "Outputs that are asked for; all of them without it. "
        f"Known: {', '.join(tensor.name for tensor in metadata.outputs) or 'none yet'}.",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "parameters": _ref("Parameters"),
            },
        },
    }


def _tensors(tensors: Sequence[TensorMetadata], exact: bool) -> Json:
    """A list of tensors; where it is not ``exact``, others may be among them."""
    known = [_tensor(tensor, exact) for tensor in tensors]
    return {"type": "array", "items": {"anyOf": known if exact and known else [*known, {}]}}


def _tensor(tensor: TensorMetadata, exact: bool) -> Json:
    element = _ELEMENTS[tensor.datatype]
    if not exact:
        # NaN and the infinities are null.
        element = {"type": [element["type"], "null"]}
    dimensions = [
        {"type": "integer", "minimum": 0} if size < 0 else {"const": size} for size in tensor.shape
    ]
    return {
        "title": tensor.name,
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"const": tensor.name},
            "datatype": {"const": tensor.datatype},
            "shape": {
                "type": "array",
                "prefixItems": dimensions,
                "minItems": len(dimensions),
                "maxItems": len(dimensions),
            }
            if dimensions
            else {"type": "array", "maxItems": 0},
            "data": {"type": "array", "items": {"anyOf": [element, {"type": "array"}]}},
            "parameters": _ref("Parameters"),
        },
    }
