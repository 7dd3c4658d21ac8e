"""From a node's spec to code that is constructed, checked and ready to call."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, get_args

from anabranch.components import registry
from anabranch.components.arrays import to_torch
from anabranch.components.contract import METHODS, Bound, CannotLoad
from anabranch.components.hints import hint
from anabranch.components.loading import explain, load_class
from anabranch.components.roots import active
from anabranch.errors import ArtefactError, LoadError
from anabranch.specs.models import NodeBase

_Call = Callable[..., Any]
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_PLACE = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
_TENSOR_TEXT = re.compile(r"\b(torch\.)?Tensor\b")


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
        instance = _construct_builtin(registry.get(registry.type_of(node), builtin), node, root)
    else:
        instance = _construct_component(node, root)
    return _bound(name, node, instance)


def _construct_builtin(kind: registry.Kind, node: NodeBase, root: Path) -> Any:
    try:
        return kind.factory(node, root)
    except (CannotLoad, ArtefactError):
        raise
    except Exception as error:
        raise CannotLoad(f"{kind.type} {kind.name!r}: {explain(error, root)}") from None


def _construct_component(node: NodeBase, root: Path) -> Any:
    if node.component is None:
        raise CannotLoad("it has neither a component nor a built-in")
    cls = load_class(node.component, root)
    _check_args(node.component, cls, node.args)
    try:
        return cls(**node.args)
    except (Exception, SystemExit) as error:
        raise CannotLoad(
            f"the constructor of {node.component} raised {explain(error, root)}"
        ) from None


def _check_args(component: str, cls: type, args: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):  # a class made outside Python may not tell
        return
    _check_names(f"the constructor of {component}", "args", list(args), list(parameters.values()))


def _bound(name: str, node: NodeBase, instance: Any) -> Bound:
    wanted = METHODS[registry.type_of(node)]
    method = _method(instance, wanted, registry.type_of(node))
    parameters = _parameters(method)
    if parameters is not None:
        _check_inputs(f"{type(instance).__name__}.{wanted}()", node, parameters)
    call = _with_tensors(_with_list(method, node), method, node, parameters or [])
    return Bound(
        node=name,
        instance=instance,
        call=call,
        is_async=_is_async(method),
        wants_context=any(_is_context(parameter) for parameter in parameters or ()),
    )


def _method(instance: Any, wanted: str, node_type: str) -> _Call:
    method = getattr(instance, wanted, None)
    if not callable(method):
        methods = [key for key in dir(instance) if not key.startswith("_")]
        known = [key for key in methods if callable(getattr(instance, key, None))]
        raise CannotLoad(
            f"{type(instance).__name__} has no method {wanted}(), which a {node_type} needs"
            f"{hint(wanted, known)}"
        )
    if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        raise CannotLoad(f"{type(instance).__name__}.{wanted}() must return its result, not yield")
    return method  # type: ignore[no-any-return]


def _is_async(method: _Call) -> bool:
    return inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(
        getattr(method, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


def _parameters(method: _Call) -> list[inspect.Parameter] | None:
    """Return the method's parameters, annotations resolved where they can be."""
    try:
        return list(inspect.signature(method, eval_str=True).parameters.values())
    except Exception:  # an annotation may name what is only imported for type checkers
        pass
    try:
        return list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):  # code made outside Python may not tell
        return None


def _is_context(parameter: inspect.Parameter) -> bool:
    return parameter.name == "context" and parameter.kind in _BY_NAME


def _listed(node: NodeBase) -> bool:
    return isinstance(getattr(node, "inputs", None), list)


def _is_builtin_combiner(node: NodeBase) -> bool:
    return registry.type_of(node) == "combiner" and node.component is None


def _check_inputs(owner: str, node: NodeBase, parameters: Sequence[inspect.Parameter]) -> None:
    if _listed(node) or _is_builtin_combiner(node):
        _check_takes_one(owner, parameters)
        return
    inputs: Mapping[str, str] = getattr(node, "inputs", {})
    if registry.type_of(node) == "explainer" and not inputs:
        return  # it receives what the node that it explains receives
    own = [parameter for parameter in parameters if not _is_context(parameter)]
    _check_names(owner, "inputs", list(inputs), own)


def _check_takes_one(owner: str, parameters: Sequence[inspect.Parameter]) -> None:
    own = [parameter for parameter in parameters if not _is_context(parameter)]
    required = [one for one in own[1:] if _is_required(one)]
    if not own or own[0].kind not in _BY_PLACE or required:
        names = ", ".join(parameter.name for parameter in own) or "none"
        raise CannotLoad(
            f"inputs are a list, so {owner} must take one list (its parameters: {names}); "
            "name the inputs in the spec to pass them by name"
        )


def _check_names(
    owner: str, field: str, given: Sequence[str], parameters: Sequence[inspect.Parameter]
) -> None:
    """Check that names can be passed as keyword arguments, none missing and none too many."""
    named = [parameter for parameter in parameters if parameter.kind in _BY_NAME]
    known = [parameter.name for parameter in named]
    missing = [one.name for one in named if _is_required(one) and one.name not in given]
    missing += [
        one.name for one in parameters if one.kind is one.POSITIONAL_ONLY and _is_required(one)
    ]
    open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
    extra = [] if open_ended else [name for name in given if name not in known]
    if missing or extra:
        raise CannotLoad(_mismatch(owner, field, missing, extra, known))


def _is_required(parameter: inspect.Parameter) -> bool:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in variadic


def _mismatch(
    owner: str, field: str, missing: Sequence[str], extra: Sequence[str], known: Sequence[str]
) -> str:
    parts = []
    if missing:
        parts.append(f"{owner} needs {_quoted(missing)}, which {field} does not give")
    if extra:
        there = hint(extra[0], known) or " (it takes none)"
        parts.append(f"{field} gives {_quoted(extra)}, which {owner} does not take{there}")
    return "; ".join(parts)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _with_list(method: _Call, node: NodeBase) -> _Call:
    """Let a built-in combiner, which takes a list, be called with the names of a map."""
    inputs = getattr(node, "inputs", None)
    if not _is_builtin_combiner(node) or not isinstance(inputs, Mapping):
        return method
    order = tuple(inputs)

    def call(**named: Any) -> Any:
        return method([named[key] for key in order])

    return call


def _with_tensors(
    call: _Call, method: _Call, node: NodeBase, parameters: Sequence[inspect.Parameter]
) -> _Call:
    """Convert arrays for the parameters that ask for torch; the raw call where none does."""
    asking = [one for one in parameters if _wants_tensor(one.annotation)]
    if not asking:
        return call
    if _listed(node):
        return _converting(call, method, _convert_list)
    names = frozenset(one.name for one in asking)
    if any(one.kind is one.VAR_KEYWORD for one in asking):
        names |= set(getattr(node, "inputs", {})) - {one.name for one in parameters}
    return _converting(call, method, partial(_convert_named, names))


def _wants_tensor(annotation: Any) -> bool:
    """Tell whether an annotation is ``torch.Tensor``, or has it inside, as in a union or list."""
    if isinstance(annotation, str):
        return _TENSOR_TEXT.search(annotation) is not None
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    if tensor is not None and annotation is tensor:
        return True
    return any(_wants_tensor(inner) for inner in get_args(annotation))


_Converted = tuple[tuple[Any, ...], dict[str, Any]]


def _convert_list(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Converted:
    return ([to_torch(array) for array in args[0]], *args[1:]), kwargs


def _convert_named(
    names: frozenset[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Converted:
    converted = {key: to_torch(kwargs[key]) for key in names if key in kwargs}
    return args, {**kwargs, **converted}


def _converting(
    call: _Call, method: _Call, convert: Callable[[tuple[Any, ...], dict[str, Any]], _Converted]
) -> _Call:
    @wraps(method)
    def converted(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = convert(args, kwargs)
        return call(*args, **kwargs)

    @wraps(method)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = convert(args, kwargs)
        return await call(*args, **kwargs)

    return awaited if _is_async(method) else converted
