"""From a node's spec to code that is constructed, checked and ready to call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anabranch.components import registry
from anabranch.components.contract import METHODS, Bound, CannotLoad
from anabranch.components.models.multiplex import Multiplexed
from anabranch.components.parameters import (
    Parameters,
    check_names,
    check_takes_one,
    is_async,
    is_context,
    parameters_of,
)
from anabranch.components.raised import pass_interrupt
from anabranch.components.source.classes import explain, load_class
from anabranch.components.source.roots import active
from anabranch.components.tensors.conversion import with_tensors
from anabranch.errors import ArtefactError, LoadError
from anabranch.specs.excerpts import hint
from anabranch.specs.models import NodeBase, Predictor

_Call = Callable[..., Any]


def bind(name: str, node: NodeBase, root: Path) -> Bound:
    """Construct the node ``name`` of a bundle in ``root`` and check its method.

    Raises:
        LoadError: the code cannot be loaded or constructed, or does not take the node's inputs.
        ArtefactError: the model file is missing, untrusted or not the one the spec names.
    """
    try:
        with active(root):
            return _bind(name, node, root)
    except CannotLoad as error:
        raise LoadError(name, str(error)) from None
    except ArtefactError as error:
        raise ArtefactError(f"node {name!r}: {error}") from None


def _bind(name: str, node: NodeBase, root: Path) -> Bound:
    found = registry.problems(node)
    if found:
        raise CannotLoad("; ".join(f"{'.'.join(map(str, path))}: {text}" for path, text in found))
    builtin = registry.builtin_of(node)
    if builtin is not None:
        kind = registry.get(registry.type_of(node), builtin)
        if isinstance(node, Predictor) and node.multiplex is not None:
            instance = Multiplexed(node, root, lambda one: _construct_builtin(kind, one, root))
        else:
            instance = _construct_builtin(kind, node, root)
    else:
        instance = _construct_component(node, root)
    return _bound(name, node, instance)


def _construct_builtin(kind: registry.Kind, node: NodeBase, root: Path) -> Any:
    try:
        return kind.factory(node, root)
    except (CannotLoad, ArtefactError):
        raise
    except BaseException as error:
        pass_interrupt(error)
        raise CannotLoad(f"{kind.type} {kind.name!r}: {explain(error, root)}") from None


def _construct_component(node: NodeBase, root: Path) -> Any:
    if node.component is None:
        raise CannotLoad("it has neither a component nor a built-in")
    cls = load_class(node.component, root)
    _check_args(node.component, cls, node.args)
    try:
        return cls(**node.args)
    except BaseException as error:
        pass_interrupt(error)
        raise CannotLoad(
            f"the constructor of {node.component} raised {explain(error, root)}"
        ) from None


def _check_args(component: str, cls: type, args: Mapping[str, Any]) -> None:
    parameters = parameters_of(cls)
    if parameters is not None:
        check_names(f"the constructor of {component}", "args", list(args), parameters)


def _bound(name: str, node: NodeBase, instance: Any) -> Bound:
    wanted = METHODS[registry.type_of(node)]
    method = _method(instance, wanted, registry.type_of(node))
    parameters = parameters_of(method)
    if parameters is not None:
        _check_inputs(f"{type(instance).__name__}.{wanted}()", node, parameters)
    call = with_tensors(_with_list(method, node), parameters or [], _input_names(node))
    wants_context = any(is_context(parameter) for parameter in parameters or ())
    if wants_context and node.batching is not None:
        raise CannotLoad(
            f"{type(instance).__name__}.{wanted}() takes `context`, which is one request's, but "
            "with `batching` it is called for many at once; remove one of the two"
        )
    return Bound(
        node=name,
        instance=instance,
        call=call,
        is_async=is_async(method),
        wants_context=wants_context,
        is_stream=inspect.isasyncgenfunction(method),
    )


def _method(instance: Any, wanted: str, node_type: str) -> _Call:
    method = getattr(instance, wanted, None)
    if not callable(method):
        cls = type(instance)
        methods = [key for key in dir(cls) if not key.startswith("_")]
        known = [key for key in methods if callable(getattr(cls, key, None))]
        raise CannotLoad(
            f"{type(instance).__name__} has no method {wanted}(), which a {node_type} needs"
            f"{hint(wanted, known)}"
        )
    _check_yields(f"{type(instance).__name__}.{wanted}()", method, node_type)
    return method  # type: ignore[no-any-return]


def _check_yields(owner: str, method: _Call, node_type: str) -> None:
    if node_type == "predictor" and inspect.isgeneratorfunction(method):
        raise CannotLoad(f"{owner} must be an async generator (`async def`) to yield its results")
    is_generator = inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)
    if is_generator and node_type != "predictor":
        raise CannotLoad(f"{owner} must return its result, not yield")


def _is_builtin_combiner(node: NodeBase) -> bool:
    return registry.type_of(node) == "combiner" and node.component is None


def _check_inputs(owner: str, node: NodeBase, parameters: Parameters) -> None:
    names = _input_names(node)
    if names is None or _is_builtin_combiner(node):
        check_takes_one(owner, parameters)
    elif names or registry.type_of(node) != "explainer":
        # An explainer without inputs receives what the node that it explains receives.
        own = [parameter for parameter in parameters if not is_context(parameter)]
        check_names(owner, "inputs", names, own)


def _input_names(node: NodeBase) -> tuple[str, ...] | None:
    """Return the parameters that receive the inputs; None where they come as one list."""
    inputs: Mapping[str, str] | list[str] = getattr(node, "inputs", {})
    return tuple(inputs) if isinstance(inputs, Mapping) else None


def _with_list(method: _Call, node: NodeBase) -> _Call:
    """Let a built-in combiner, which takes a list, be called with the names of a map."""
    order = _input_names(node)
    if order is None or not _is_builtin_combiner(node):
        return method

    def call(**named: Any) -> Any:
        return method([named[key] for key in order])

    return call
