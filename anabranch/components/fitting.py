"""Whether a node's class fits its spec: constructor, method, parameters.

``bind`` asks this of a class that was loaded, ``component_problems`` of its source alone, so that
both say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from anabranch.components import registry
from anabranch.components.contract import METHODS, CannotLoad
from anabranch.components.contracts.all_contracts import contract_of
from anabranch.components.parameters import (
    Parameters,
    check_names,
    check_takes_one,
    constructor_mistakes,
    is_context,
)
from anabranch.components.source.outline import ClassOutline, Method, outline
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint
from anabranch.specs.models import NodeBase


def check_inputs(owner: str, node: NodeBase, parameters: Parameters) -> None:
    """Raise CannotLoad unless a method of these parameters takes the node's inputs."""
    names = input_names(node)
    if names is None or is_builtin_combiner(node):
        check_takes_one(owner, parameters)
    elif names or registry.type_of(node) != "explainer":
        # An explainer without inputs receives what the node that it explains receives.
        own = [parameter for parameter in parameters if not is_context(parameter)]
        check_names(owner, "inputs", names, own)
    if node.batching is not None and any(map(is_context, parameters)):
        raise CannotLoad(
            f"{owner} takes `context`, which is one request's, but with `batching` it is called "
            "for many at once; remove one of the two"
        )


def check_yields(
    owner: str, node_type: str, *, is_generator: bool, is_async_generator: bool
) -> None:
    """Raise CannotLoad for a method that yields where it must not."""
    if node_type == "predictor" and is_generator:
        raise CannotLoad(f"{owner} must be an async generator (`async def`) to yield its results")
    if (is_generator or is_async_generator) and node_type != "predictor":
        raise CannotLoad(f"{owner} must return its result, not yield")


def no_method(cls: str, node_type: str, methods: list[str]) -> CannotLoad:
    """Return the error for a class without the method of a node type; ``methods`` it has."""
    wanted = METHODS[node_type]
    known = [one for one in methods if not one.startswith("_")]
    return CannotLoad(
        f"{cls} has no method {wanted}(), which a {node_type} needs{hint(wanted, known)}"
    )


def is_builtin_combiner(node: NodeBase) -> bool:
    """Tell whether a node is a combiner of ours, which takes a list even for a map."""
    return registry.type_of(node) == "combiner" and node.component is None


def input_names(node: NodeBase) -> tuple[str, ...] | None:
    """Return the parameters that receive the inputs; None where they come as one list."""
    inputs: Mapping[str, str] | list[str] = getattr(node, "inputs", {})
    return tuple(inputs) if isinstance(inputs, Mapping) else None


def component_problems(node: NodeBase, root: Path) -> Iterator[Mistake]:
    """Find what the source of a node's component shows to be wrong, without running it.

    What the source leaves open, such as a class that a decorator makes, is taken for right.
    """
    if node.component is None:
        return
    try:
        cls = outline(node.component, root)
    except CannotLoad as error:
        yield ("component",), str(error)
        return
    if cls is None:
        return
    if (contract := contract_of(node)) is not None:
        yield from contract.mistakes(cls, node)
        return
    node_type = registry.type_of(node)
    if (method := cls.method(METHODS[node_type])) is None:
        yield ("component",), f"{no_method(cls.name, node_type, cls.methods)} ({cls.place})"
    if (constructor := cls.constructor) is not None:
        yield from constructor_mistakes(node.component, node.args, constructor)
    if isinstance(method, Method):
        yield from _method_findings(cls, method, node)


def _method_findings(cls: ClassOutline, method: Method, node: NodeBase) -> Iterator[Mistake]:
    node_type = registry.type_of(node)
    owner = f"{cls.name}.{METHODS[node_type]}()"
    try:
        check_yields(
            owner,
            node_type,
            is_generator=method.yields and not method.is_async,
            is_async_generator=method.yields and method.is_async,
        )
    except CannotLoad as error:
        yield ("component",), f"{error} ({method.place})"
    try:
        check_inputs(owner, node, method.parameters)
    except CannotLoad as error:
        path = ("inputs",) if getattr(node, "inputs", None) else ("component",)
        yield path, f"{error} ({method.place})"
