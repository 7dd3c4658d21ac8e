"""Makes requests of the Open Inference Protocol from options of the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

from anabranch.components.tensors.given import fit, flat, nested_shape
from anabranch.errors import InvalidRequest

Json = dict[str, Any]


def read(data: str | None, inputs: Sequence[str] | None) -> Json:
    """Return the values of ``--data`` or ``--input``; raise BadParameter for both or none."""
    if (data is None) == (not inputs):
        raise typer.BadParameter("give either --data or at least one --input")
    return read_inputs(inputs or []) if data is None else read_data(data)


def body(given: Json, metadata: Callable[[], Json]) -> Json:
    """Return the request of ``read``, or make one of its values by the graph's metadata.

    Raise the errors of ``request_for``.
    """
    return given if is_request(given) else request_for(metadata(), given)


def read_data(text: str) -> Json:
    """Return the JSON object of ``--data``; raise BadParameter for other JSON or a missing file."""
    body = _parse(_read(text, "--data") if text.startswith("@") else text, "--data")
    if not isinstance(body, dict):
        raise typer.BadParameter(f"--data must be a JSON object, not {type(body).__name__}")
    return body


def parameters(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """Return the values of ``NAME=VALUE`` by name, each JSON or else the text itself.

    Raise BadParameter for a wrong pair, or a name that is given twice.
    """
    return {name: labels(text) for name, text in split_pairs(pairs, option).items()}


def split_pairs(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Return the texts of ``NAME=VALUE`` by name; raise BadParameter for a wrong or second one."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{option} {pair!r} is not NAME=VALUE")
        if name in found:
            raise typer.BadParameter(f"{option} {name} is given twice")
        found[name] = text
    return found


def with_parameters(body: Json, given: Mapping[str, Any]) -> Json:
    """Return a request with further parameters, which take the place of those of their names."""
    if not given:
        return body
    before = body.get("parameters", {})
    return {**body, "parameters": {**(before if isinstance(before, dict) else {}), **given}}


def labels(text: str) -> Any:
    """Return the label or labels of ``--truth``: JSON, or else the text itself."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(constant: str) -> NoReturn:
    """Raise ValueError, since NaN and the infinities are no JSON."""
    raise ValueError(constant)


def is_request(data: Json) -> bool:
    """Return whether ``data`` are a request of the Open Inference Protocol, not values by input."""
    tensors = data.get("inputs")
    return isinstance(tensors, list) and all(
        isinstance(tensor, dict) and "name" in tensor for tensor in tensors
    )


class Typed(str):
    """The text of a value as it was typed: JSON, or for an input of BYTES also a text as it is."""


def read_inputs(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the values of ``--input name=value`` by name; raise BadParameter for a wrong pair.

    What was typed inline is ``Typed``, since its meaning depends on the input's datatype.
    """
    return {name: _value(name, text) for name, text in split_pairs(pairs, "--input").items()}


def request_for(metadata: Json, values: Mapping[str, Any]) -> Json:
    """Return a request with ``values``, with datatypes and shapes from the graph's ``metadata``.

    Raise InvalidRequest for an unknown input, and for a value that does not fill its shape;
    BadParameter for a typed value that is not JSON.
    """
    known = {tensor["name"]: tensor for tensor in metadata.get("inputs", [])}
    unknown = [name for name in values if name not in known]
    if unknown:
        raise InvalidRequest(f"the graph has no input {unknown[0]!r}; it has: {', '.join(known)}")
    return {"inputs": [_tensor(known[name], value) for name, value in values.items()]}


def _tensor(declared: Json, value: Any) -> Json:
    name = declared["name"]
    if isinstance(value, Typed):
        value = _read_typed(name, value, declared["datatype"])
    shape = fit(name, nested_shape(name, value), declared["shape"])
    return {"name": name, "datatype": declared["datatype"], "shape": shape, "data": flat(value)}


def _read_typed(name: str, text: Typed, datatype: str) -> Any:
    if datatype != "BYTES":
        return _parse(text, f"--input {name}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return str(text)
    return found if isinstance(found, str | list) else str(text)


def _value(name: str, text: str) -> Any:
    option = f"--input {name}"
    if not text.startswith("@"):
        return Typed(text)
    if text.endswith(".npy"):
        return _load_array(text[1:], option)
    return _parse(_read(text, option), option)


def _load_array(path: str, option: str) -> Any:
    from numpy.lib import format as npy

    found = None
    try:
        with Path(path).open("rb") as file:
            found = npy.read_array(file, allow_pickle=False)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise typer.BadParameter(f"{option}: cannot read {path}: {error}") from None
    except ValueError:
        pass  # no array, or one of objects
    if found is None or found.dtype.kind not in "biufU":
        raise typer.BadParameter(
            f"{option}: {path} is no .npy file of booleans, numbers or texts "
            "(dtype bool, int, uint, float or str); arrays of Python objects are not taken"
        )
    return found.tolist()


def _read(text: str, option: str) -> str:
    """Return the text of ``@file``, or of stdin for ``@-``."""
    if text == "@-":
        return sys.stdin.read()
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{option}: cannot read {text[1:]}: {error}") from None


def _parse(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{option} is not JSON: {error}") from None
