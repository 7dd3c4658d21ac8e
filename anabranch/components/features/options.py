"""What a node with ``method: lookup`` asks for, checked without a store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from anabranch.components.contract import CannotLoad
from anabranch.components.features.cache import CacheLimits, seconds_of
from anabranch.components.features.kinds import (
    OPTIONS,
    kind_of_url,
    option_problems,
    url_problem,
)
from anabranch.components.features.reading import RowReader
from anabranch.components.features.redis_hashes import template_problem
from anabranch.components.features.stores import StoreOptions
from anabranch.components.features.values import FeatureColumn
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint, listing, shown
from anabranch.specs.models import TensorSpec, Transformer

LONGEST = 1.0
"""Longest time of a node without ``timeout``, in seconds."""
PART = 0.9
"""Part of its time for which a node waits for its store: the rest is for defaults."""
VARIABLE = "env:"
"""Before the name of a variable that holds a URL."""
OFFLINE = ("store", "table", "timestamp")
"""What ``offline`` may hold."""


def columns_of(node: Transformer) -> tuple[FeatureColumn, ...]:
    """Return the outputs of a node without ``problems``, in the order of its features."""
    outputs = node.outputs or {}
    return tuple(FeatureColumn(name, ref, outputs[name]) for name, ref in _features(node).items())


def reader_of(node: Transformer, name: str) -> RowReader:
    """Return the reader of a node's rows."""
    columns, args = columns_of(node), node.args
    given: Any = args.get("defaults") or {}
    ttl = args.get("ttl")
    return RowReader(
        name,
        tuple(node.inputs),
        columns,
        {one.name: one.element(given[one.name]) for one in columns if one.name in given},
        "absent" if args.get("missing") == "absent" else "fail",
        None if ttl is None else seconds_of(str(ttl)),
    )


def seconds_for(node: Transformer) -> float:
    """Return how long the node waits for its store, in seconds."""
    return PART * (LONGEST if node.timeout is None else node.timeout.seconds)


def limits_of(node: Transformer) -> CacheLimits:
    """Return the bounds of the node's cache."""
    args: Any = node.args
    return CacheLimits(
        seconds_of(args.get("max_age")),
        seconds_of(args.get("max_stale")),
        args.get("max_keys", CacheLimits.max_keys),
        seconds_for(node),
    )


def store_options(node: Transformer, name: str, root: Path, offline: bool = False) -> StoreOptions:
    """Return the options of the node's store, or of its ``offline`` one; secrets are read here.

    CannotLoad where a variable that the options name is not set.
    """
    args: dict[str, Any] = {one: node.args.get(one) for one in ("store", *OPTIONS)}
    if offline:
        args |= _offline(node)
    columns = columns_of(node)
    return StoreOptions(
        node=name,
        root=root,
        url=_resolved(str(args["store"])),
        entities=tuple(node.inputs),
        refs=tuple(column.ref for column in columns),
        key=args["key"],
        table=args["table"],
        timestamp=args["timestamp"],
        token=None if args["token"] is None else _variable(str(args["token"])),
        seconds=seconds_for(node),
    )


def _offline(node: Transformer) -> dict[str, Any]:
    given: Any = node.args.get("offline")
    # The key of a hash and the token of a server are nothing to a store of the past.
    return {} if given is None else {**dict.fromkeys(OPTIONS), **given}


def _resolved(store: str) -> str:
    is_variable = store.startswith(VARIABLE)
    return _variable(store.removeprefix(VARIABLE)) if is_variable else store


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise CannotLoad(f"the variable {name} is not set, or empty")
    return value


def problems_of(node: Transformer) -> Iterator[Mistake]:
    """Yield all mistakes that show without a store."""
    yield from _output_problems(node)
    yield from _store_problems(node, node.args, ("args",))
    yield from _offline_problems(node)
    yield from _time_problems(node)
    if node.quorum is not None:
        yield ("quorum",), "every input is a part of the key"


def _features(node: Transformer) -> Mapping[str, str]:
    return cast("Mapping[str, str]", node.args["features"])


def _output_problems(node: Transformer) -> Iterator[Mistake]:
    features, outputs = _features(node), node.outputs or {}
    defaults: Any = node.args.get("defaults") or {}
    if not features:
        yield ("args", "features"), "there is no feature to look up"
    for name in features:
        if name not in outputs:
            text = f"output {name!r} needs a type: {name}: {{datatype: …, shape: [-1]}}"
            yield ("outputs",), text
        else:
            yield from _type_problems(name, outputs[name])
    for path, names in ((("outputs",), outputs), (("args", "defaults"), defaults)):
        for name in names:
            if name not in features:
                yield (*path, name), f"no feature is called {shown(name)}{hint(name, features)}"
    yield from _default_problems(node, defaults)
    if node.args.get("missing") == "absent":
        yield from _absence_problems(node, defaults)


def _type_problems(name: str, spec: TensorSpec) -> Iterator[Mistake]:
    if not spec.shape or spec.shape[0] != -1 or -1 in spec.shape[1:]:
        yield (
            ("outputs", name, "shape"),
            f"{list(spec.shape)} is not [-1], a value for each row, nor [-1, size] for a list",
        )


def _default_problems(node: Transformer, defaults: Mapping[str, Any]) -> Iterator[Mistake]:
    outputs = node.outputs or {}
    for name, ref in _features(node).items():
        spec = outputs.get(name)
        if name not in defaults or spec is None or next(_type_problems(name, spec), None):
            continue
        try:
            FeatureColumn(name, ref, spec).element(defaults[name])
        except (ValueError, ArithmeticError) as error:
            text = f"{shown(defaults[name])} {error} (the output is {spec})"
            yield ("args", "defaults", name), text


def _absence_problems(node: Transformer, defaults: Mapping[str, Any]) -> Iterator[Mistake]:
    optional = node.optional_outputs or []
    for name in _features(node):
        if name not in defaults and name not in optional:
            text = f"output {name!r} needs a default, or to be in `optional_outputs`"
            yield ("args", "missing"), text


def _store_problems(
    node: Transformer, args: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[Mistake]:
    store = str(args["store"])
    if args.get("token") is not None:
        yield from _variable_problems(node, str(args["token"]), (*path, "token"))
    if store.startswith(VARIABLE):
        name = store.removeprefix(VARIABLE)
        yield from _variable_problems(node, name, (*path, "store"))
        return
    wrong = url_problem(store)
    if wrong is not None:
        yield (*path, "store"), wrong
        return
    kind, key = kind_of_url(store), args.get("key")
    for option, text in option_problems(kind, args):
        yield (*path, option), text
    if key is not None and "key" in kind.needs:
        problem = template_problem(str(key), tuple(node.inputs))
        if problem is not None:
            yield (*path, "key"), problem


def _variable_problems(node: Transformer, name: str, path: tuple[str, ...]) -> Iterator[Mistake]:
    known = [*node.secrets, *node.env]
    if name not in known:
        text = f"{shown(name)} is no variable of the node's `secrets` or `env`{hint(name, known)}"
        yield path, text


def _offline_problems(node: Transformer) -> Iterator[Mistake]:
    given: Any = node.args.get("offline")
    if given is None:
        return
    for name in given:
        if name not in OFFLINE:
            yield ("args", "offline", name), f"unknown; it takes {listing(OFFLINE)}"
    if "store" not in given:
        yield ("args", "offline"), "the URL of the `store` of the past is missing"
    elif all(name in OFFLINE for name in given):
        yield from _store_problems(node, given, ("args", "offline"))


def _time_problems(node: Transformer) -> Iterator[Mistake]:
    args: Any = node.args
    age, stale = seconds_of(args.get("max_age")), seconds_of(args.get("max_stale"))
    if stale and stale < age:
        yield (
            ("args", "max_stale"),
            f"is below `max_age` ({args['max_age']}), up to which rows are used anyway",
        )
