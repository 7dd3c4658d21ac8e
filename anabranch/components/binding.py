"""From a node's spec to code that is constructed, checked and ready to call."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from anabranch.components import registry
from anabranch.components.contract import METHODS, Bound, CannotLoad
from anabranch.components.contracts.adapting import ComponentContract
from anabranch.components.contracts.all_contracts import contract_of
from anabranch.components.fitting import (
    check_inputs,
    check_yields,
    input_names,
    is_builtin_combiner,
    no_method,
)
from anabranch.components.models.multiplex import Multiplexed
from anabranch.components.parameters import check_args, is_async, is_context, parameters_of
from anabranch.components.raised import pass_interrupt, text_of
from anabranch.components.runtimes.torch.memory import cap_memory
from anabranch.components.source.classes import explain, load_class
from anabranch.components.source.roots import active
from anabranch.components.tensors.conversion import with_tensors
from anabranch.components.variables import set_variables
from anabranch.errors import ArtefactError, LoadError
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
        raise LoadError(name, text_of(error)) from None
    except ArtefactError as error:
        raise ArtefactError(f"node {name!r}: {text_of(error)}") from None


def _bind(name: str, node: NodeBase, root: Path) -> Bound:
    found = registry.problems(node)
    if found:
        raise CannotLoad("; ".join(f"{'.'.join(map(str, path))}: {text}" for path, text in found))
    set_variables(node)
    builtin = registry.builtin_of(node)
    if builtin is not None:
        kind = registry.get(registry.type_of(node), builtin)
        if isinstance(node, Predictor) and node.multiplex is not None:
            instance = Multiplexed(
                node, root, lambda one: _construct_builtin(kind, name, one, root)
            )
        else:
            instance = _construct_builtin(kind, name, node, root)
    else:
        instance = _construct_component(name, node, root)
    return _bound(name, node, instance)


def _construct_builtin(kind: registry.Kind, name: str, node: NodeBase, root: Path) -> Any:
    try:
        return kind.factory(node, root, name)
    except (CannotLoad, ArtefactError):
        raise
    except BaseException as error:
        pass_interrupt(error)
        raise CannotLoad(f"{kind.type} {kind.name!r}: {explain(error, root)}") from None


def _construct_component(name: str, node: NodeBase, root: Path) -> Any:
    if node.component is None:
        raise CannotLoad("it has neither a component nor a built-in")
    contract = contract_of(node)
    with nullcontext() if contract is None else contract.importing():
        cls = load_class(node.component, root)
        if "torch" in sys.modules:
            cap_memory(sys.modules["torch"], node.resources)
        if contract is None and (parameters := parameters_of(cls)) is not None:
            check_args(node.component, node.args, parameters)
        return _construct(cls, name, node, root, contract)


def _construct(
    cls: type, name: str, node: NodeBase, root: Path, contract: ComponentContract | None
) -> Any:
    """Return the component, or an object that adapts it from the contract of another system."""
    try:
        return cls(**node.args) if contract is None else contract.adapted(cls, node, name, root)
    except CannotLoad:
        raise
    except BaseException as error:
        pass_interrupt(error)
        raise CannotLoad(
            f"the constructor of {node.component} raised {explain(error, root)}"
        ) from None


def _bound(name: str, node: NodeBase, instance: Any) -> Bound:
    method = _method(instance, registry.type_of(node))
    parameters = parameters_of(method)
    if parameters is not None:
        owner = f"{type(instance).__name__}.{METHODS[registry.type_of(node)]}()"
        check_inputs(owner, node, parameters)
    is_stream = inspect.isasyncgenfunction(method)
    call = with_tensors(_with_list(method, node), parameters or [], input_names(node))
    return Bound(
        node=name,
        instance=instance,
        call=call,
        is_async=is_async(method),
        wants_context=any(is_context(parameter) for parameter in parameters or ()),
        is_stream=is_stream,
        join=getattr(instance, "join", None) if is_stream else None,
    )


def _method(instance: Any, node_type: str) -> _Call:
    cls, wanted = type(instance), METHODS[node_type]
    method = getattr(instance, wanted, None)
    if not callable(method):
        methods = [key for key in dir(cls) if callable(getattr(cls, key, None))]
        raise no_method(cls.__name__, node_type, methods)
    check_yields(
        f"{cls.__name__}.{wanted}()",
        node_type,
        is_generator=inspect.isgeneratorfunction(method),
        is_async_generator=inspect.isasyncgenfunction(method),
    )
    return method  # type: ignore[no-any-return]


def _with_list(method: _Call, node: NodeBase) -> _Call:
    """Let a built-in combiner, which takes a list, be called with the names of a map."""
    order = input_names(node)
    if order is None or not is_builtin_combiner(node):
        return method

    def call(**named: Any) -> Any:
        return method([named[key] for key in order])

    return call
