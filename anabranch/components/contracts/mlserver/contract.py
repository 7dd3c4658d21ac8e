"""The contract of MLServer: its models, checked and constructed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from anabranch.components.contract import CannotLoad
from anabranch.components.contracts.adapting import lacks
from anabranch.components.contracts.mlserver.adapter import AdaptedMLModel
from anabranch.components.source.outline import ClassOutline, Method
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint
from anabranch.specs.models import NodeBase
from anabranch.specs.sections.contracts import MLSERVER_METHODS

_WORDS = "MLServer's contract"
_SETTINGS_FILE = "model-settings.json"
_OWN = "implementation"
"""The field of a model's settings that the node's ``component`` stands for."""


_WANTED = {"predict": "a coroutine function (`async def`)", "predict_stream": "an async generator"}
_KINDS: dict[str, Callable[[Any], bool]] = {
    "predict": inspect.iscoroutinefunction,
    "predict_stream": inspect.isasyncgenfunction,
}


class MLServerContract:
    """Classes derived from ``MLModel``; see ``AdaptedMLModel``."""

    def importing(self) -> AbstractContextManager[None]:
        """Do nothing: a component imports the package itself."""
        return nullcontext()

    def mistakes(self, cls: ClassOutline, node: NodeBase) -> Iterator[Mistake]:
        """Find a missing method, and one with other parameters."""
        wanted = _wanted(node)
        if all(cls.method(name) is None for name in wanted):
            text = lacks(cls.name, _WORDS, node, wanted, cls.methods)
            yield ("component",), f"{text} ({cls.place})"
        for name in wanted:
            method = cls.method(name)
            if isinstance(method, Method):
                yield from _method_mistakes(f"{cls.name}.{name}()", name, method)

    def adapted(self, cls: type, node: NodeBase, name: str, root: Path) -> Any:
        """Construct a model by its settings, which are the node's ``args``, and adapt it."""
        try:
            import mlserver
        except ImportError as error:
            raise CannotLoad(
                f"mlserver cannot be imported ({error}); docs/components.md says how it is "
                "installed beside anabranch"
            ) from None
        if not issubclass(cls, mlserver.MLModel):
            raise CannotLoad(f"{cls.__name__} is not derived from mlserver.MLModel")
        method = _own_method(cls, node)
        settings = _settings(mlserver, cls, node.args, name, root)
        return AdaptedMLModel(cls(settings), method, node, name)


def _wanted(node: NodeBase) -> tuple[str, ...]:
    method = getattr(node, "method", None)
    return MLSERVER_METHODS if method is None else (method,)


def _own_method(cls: Any, node: NodeBase) -> str:
    """Return the method that a node calls: the first that the class or a base of it defines."""
    for name in _wanted(node):
        function = getattr(cls, name, None)
        if getattr(function, "__module__", "mlserver.model") == "mlserver.model":
            continue
        if not callable(function) or not any(
            _KINDS[name](one) for one in (function, inspect.unwrap(function))
        ):
            raise CannotLoad(f"{cls.__name__}.{name}() must be {_WANTED[name]}")
        return name
    raise CannotLoad(lacks(cls.__name__, _WORDS, node, _wanted(node), list(vars(cls))))


def _method_mistakes(owner: str, name: str, method: Method) -> Iterator[Mistake]:
    if not method.is_async or method.yields is not (name == "predict_stream"):
        yield ("component",), f"{owner} must be {_WANTED[name]} ({method.place})"


def _settings(package: Any, cls: type, given: Mapping[str, Any], name: str, root: Path) -> Any:
    """Return the settings of a model, as ``repository/load.py`` makes them of a file in ``root``.

    The name is the node's unless ``given`` has one, and paths start from ``root``.
    """
    known = [field for field in package.ModelSettings.model_fields if field != "implementation_"]
    for field in given:
        if field == _OWN:
            raise CannotLoad(f"args.{_OWN}: the node's `component` says this; remove it")
        if field not in known:
            raise CannotLoad(
                f"args.{field}: {_SETTINGS_FILE} has no such field{hint(field, known)}"
            )
    try:
        settings = package.ModelSettings(implementation=cls, **{"name": name, **given})
    except ValueError as error:
        raise CannotLoad(f"args: {' '.join(str(error).split())}") from None
    settings._source = str(root / _SETTINGS_FILE)
    if settings.parameters is None:
        settings.parameters = package.settings.ModelParameters()
    if not settings.parameters.uri:
        settings.parameters.uri = str(root)
    return settings
