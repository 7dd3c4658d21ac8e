"""The contract of Seldon Core v1: its components, checked and constructed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from anabranch.components.contract import CannotLoad
from anabranch.components.contracts.adapting import check_takes, lacks
from anabranch.components.contracts.seldon.adapter import AdaptedSeldon, method_of
from anabranch.components.contracts.seldon.calling import own_method
from anabranch.components.contracts.seldon.standin import importable
from anabranch.components.parameters import check_args, constructor_mistakes, parameters_of
from anabranch.components.source.outline import ClassOutline, Method
from anabranch.errors import Mistake
from anabranch.specs.models import NodeBase

_WORDS = "Seldon's contract"


class SeldonContract:
    """Components as ``seldon-core-microservice`` runs them; see ``AdaptedSeldon``."""

    def importing(self) -> AbstractContextManager[None]:
        """Let the source of a component import ``seldon_core``, where the package is missing."""
        return importable()

    def mistakes(self, cls: ClassOutline, node: NodeBase) -> Iterator[Mistake]:
        """Find a missing method, one with other parameters, and wrong arguments."""
        wanted = (method_of(node), f"{method_of(node)}_raw")
        if all(cls.method(name) is None for name in wanted):
            text = lacks(cls.name, _WORDS, node, wanted, cls.methods)
            yield ("component",), f"{text} ({cls.place})"
        if cls.constructor is not None:
            yield from constructor_mistakes(node.component, node.args, cls.constructor)
        for name in wanted:
            method = cls.method(name)
            if isinstance(method, Method):
                count = 1 if name.endswith("_raw") else 2
                yield from _parameters(f"{cls.name}.{name}()", method, count)

    def adapted(self, cls: type, node: NodeBase, name: str, root: Path) -> Any:
        """Construct a component by the node's ``args``, and adapt it."""
        if (parameters := parameters_of(cls)) is not None:
            check_args(node.component, node.args, parameters)
        component = cls(**node.args)
        wanted = (method_of(node), f"{method_of(node)}_raw")
        if not any(own_method(component, one) for one in wanted):
            methods = [key for key in dir(cls) if own_method(component, key) is not None]
            raise CannotLoad(lacks(cls.__name__, _WORDS, node, wanted, methods))
        return AdaptedSeldon(component, node, name)


def _parameters(owner: str, method: Method, count: int) -> Iterator[Mistake]:
    if method.is_async or method.yields:
        text = f"{owner} must return its result, and be neither async nor a generator"
        yield ("component",), f"{text} ({method.place})"
        return
    try:
        check_takes(owner, count, method.parameters)
    except CannotLoad as error:
        yield ("component",), f"{error} ({method.place})"
