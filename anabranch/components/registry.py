"""The built-ins: one registry for each node type, filled by decorated classes.

To add one, write a class in one file and list that file in ``builtins.MODULES``::

    @register("transformer", "negate")
    class Negate:
        def __init__(self, *, only: str | None = None) -> None: ...
        def transform(self, **inputs): ...

The constructor's keyword parameters are the node's ``args``; their annotations are checked. A
constructor that hands ``**common`` to its base class has the base's parameters as arguments, too. A
parameter named ``node`` receives the node's spec, one named ``root`` the folder of the bundle, and
one named ``node_name`` the name of the node.
Optional static methods describe the built-in before the first request:

- ``infer(inputs, args)``: return output name -> type (None: unknown), or None where not even the
  names are known, as for a class without the method; raise ``TypeConflict``.
- ``check(node)``: yield (field path below the node, message) for each mistake that types do not
  show. It is called only when ``args`` are well-typed.
- ``executes_code(model)``: return whether a model file of that name can run code when it is
  loaded; by URI such a file needs its digest.
- ``fits(explained)``, of an explainer: return why it cannot explain a node of that spec, or for
  None the whole graph; None where it can. The attribute ``looks_inside`` says that the explainer
  reads the explained component itself and not only its answers.

The attribute ``is_deterministic``, True if left out, says that a transformer or a combiner gives
equal outputs for equal inputs, at any time, so that answers of it may be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from anabranch.components.arguments import constructor_problems, injected
from anabranch.components.artefacts.bundled import bundled
from anabranch.components.artefacts.paths import check_code, check_trust
from anabranch.components.artefacts.uris import is_mlflow, is_uri, problem, redacted, unwatchable
from anabranch.components.builtins import import_all
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import BUILTIN_FIELD, NODE_TYPES, NodeBase
from anabranch.specs.shared.reference import is_shared

RESERVED_INPUT = "context"
"""No input may be called so: the parameter of that name receives the request's context."""

_AnyClass: TypeAlias = type
_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class Kind:
    """A built-in."""

    type: str
    name: str
    cls: _AnyClass
    infer: Callable[[Types, Args], Types | None]
    """Types of the outputs, given those of the inputs; None where not even names are known."""
    check: Callable[[Any], Iterable[Mistake]]
    executes_code: Callable[[str], bool]
    """Whether loading the model of that path or URI may run code."""
    fits: Callable[[NodeBase | None], str | None]
    """Of an explainer: why it cannot explain a node, or the whole graph."""
    looks_inside: bool
    """Of an explainer: whether it needs the explained component itself."""
    is_deterministic: bool = True
    """Of a transformer or combiner: whether equal inputs always give equal outputs."""

    def factory(self, node: NodeBase, root: Path, node_name: str = "") -> Any:
        """Construct the built-in of a node without ``problems``.

        Raise ArtefactError where its model may run code and comes from an untrusted server, or the
        engine takes no such models.
        """
        if may_run_code(node):
            check_code(str(getattr(node, "model", "")))
        if needs_trust(node) and bundled(str(getattr(node, "model", "")), root) is None:
            check_trust(str(getattr(node, "model", "")))
        return self.cls(**injected(self.cls, node, root, node_name), **node.args)


MONITOR = "monitor"
"""Beside the types of nodes: what watches data."""

_KINDS: dict[str, dict[str, Kind]] = {kind: {} for kind in (*NODE_TYPES, MONITOR)}


def register(node_type: str, name: str) -> Callable[[_Class], _Class]:
    """Decorate a class as the built-in ``name`` of a node type."""

    def add(cls: _Class) -> _Class:
        if name in _KINDS[node_type]:
            raise ValueError(f"{node_type} {name!r} is registered twice")
        _KINDS[node_type][name] = Kind(
            type=node_type,
            name=name,
            cls=cls,
            infer=getattr(cls, "infer", lambda inputs, args: None),
            check=getattr(cls, "check", lambda node: ()),
            executes_code=getattr(cls, "executes_code", lambda model: False),
            fits=getattr(cls, "fits", lambda explained: None),
            looks_inside=bool(getattr(cls, "looks_inside", False)),
            is_deterministic=bool(getattr(cls, "is_deterministic", True)),
        )
        return cls

    return add


def names(node_type: str) -> tuple[str, ...]:
    """Return the names of a node type's built-ins, sorted."""
    return tuple(sorted(_registry(node_type)))


def get(node_type: str, name: str) -> Kind:
    """Return a built-in; raise KeyError with the known names for any other name."""
    kinds = _registry(node_type)
    if name not in kinds:
        raise KeyError(unknown(node_type, name))
    return kinds[name]


def builtin_of(node: NodeBase) -> str | None:
    """Return the name of a node's built-in; None for a node with a component."""
    if node.component is not None:
        return None
    found: str | None = getattr(node, BUILTIN_FIELD[type_of(node)])
    return found


def type_of(node: NodeBase) -> str:
    """Return the node's type, such as ``transformer``."""
    found: str = getattr(node, "type")  # noqa: B009 - each subclass declares it, the base does not
    return found


def unknown(node_type: str, name: str) -> str:
    """Return the message for an unknown built-in."""
    field = "method" if node_type == MONITOR else BUILTIN_FIELD[node_type]
    return f"unknown {node_type} {field} {shown(name)}{hint(name, names(node_type))}"


def problems(node: NodeBase) -> list[Mistake]:
    """Return all mistakes in a node's use of its built-in, without loading or running it."""
    found = [*_input_problems(node), *_place_problems(node)]
    name = builtin_of(node)
    if name is None:
        return found
    kind = _registry(type_of(node)).get(name)
    if kind is None:
        return [*found, ((BUILTIN_FIELD[type_of(node)],), unknown(type_of(node), name))]
    ill_typed = constructor_problems(kind.cls, node.args, f"{kind.type} {name!r}")
    return [*found, *_trust_problems(kind, node), *(ill_typed or kind.check(node))]


_WATCHABLE = (
    "watch it in MLflow's registry, or take a format that runs none, such as .skops, .onnx or "
    ".safetensors"
)


def _trust_problems(kind: Kind, node: NodeBase) -> Iterable[Mistake]:
    model = _foreign_code(kind, node)
    if model is not None and not is_mlflow(model):
        what = f"{shown(redacted(model))} can run code when it is loaded"
        if getattr(node, "watch", False):
            yield ("watch",), f"{what}, and no digest vouches for what moves; {_WATCHABLE}"
        else:
            yield ("sha256",), f"{what}: add `sha256:` ({_digest_of(model)})"


def _digest_of(model: str) -> str:
    url = redacted(model)
    return f"run `curl -L {url} | sha256sum`" if url.startswith("http") else "run `sha256sum` on it"


def may_run_code(node: NodeBase) -> bool:
    """Tell whether loading the node's model may run code, wherever it comes from."""
    name, model = builtin_of(node), getattr(node, "model", None)
    kind = None if name is None else _registry(type_of(node)).get(name)
    return kind is not None and model is not None and kind.executes_code(model)


def needs_trust(node: NodeBase) -> bool:
    """Tell whether only trust in MLflow's tracking server allows loading the node's model.

    The engine's operator grants this trust; see ``artefacts.paths.check_trust``.
    """
    name = builtin_of(node)
    kind = None if name is None else _registry(type_of(node)).get(name)
    model = None if kind is None else _foreign_code(kind, node)
    return model is not None and is_mlflow(model)


def _foreign_code(kind: Kind, node: NodeBase) -> str | None:
    """Return the node's model where it comes by URI, may run code, and has no digest."""
    model: str | None = getattr(node, "model", None)
    if model is None or is_shared(model) or getattr(node, "sha256", None) is not None:
        return None
    return model if is_uri(model) and kind.executes_code(model) else None


def _place_problems(node: NodeBase) -> Iterable[Mistake]:
    for field in ("model", "data"):
        wrong = problem(getattr(node, field, None) or "")
        if wrong is not None:
            yield (field,), wrong
    if getattr(node, "watch", False):
        fixed = unwatchable(getattr(node, "model", None) or "")
        if fixed is not None:
            yield ("watch",), f"cannot watch what does not move: {fixed}"


def _input_problems(node: NodeBase) -> Iterable[Mistake]:
    inputs = getattr(node, "inputs", {})
    if isinstance(inputs, Mapping) and RESERVED_INPUT in inputs:
        yield (
            ("inputs", RESERVED_INPUT),
            f"{RESERVED_INPUT!r} is reserved for the parameter that receives the request's context",
        )


def _registry(node_type: str) -> dict[str, Kind]:
    import_all()
    return _KINDS[node_type]
