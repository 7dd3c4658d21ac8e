"""The protocol of a contract: how its components are imported, checked and adapted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from anabranch.components.contract import CannotLoad
from anabranch.components.parameters import BY_PLACE, Parameters, is_required
from anabranch.components.source.outline import ClassOutline
from anabranch.errors import Mistake, StatusError
from anabranch.specs.excerpts import hint
from anabranch.specs.models import NodeBase


class ComponentContract(Protocol):
    """The contract of another system's components."""

    def importing(self) -> AbstractContextManager[None]:
        """Let the source of a component import what the system's own package has."""

    def mistakes(self, cls: ClassOutline, node: NodeBase) -> Iterator[Mistake]:
        """Find what the source of a class shows to be wrong, without running it."""

    def adapted(self, cls: type, node: NodeBase, name: str, root: Path) -> Any:
        """Construct a component, and return an object with anabranch's contract that calls it.

        ``name`` is the node's name, ``root`` the folder of the bundle. Raise CannotLoad for a class
        that does not keep the contract.
        """


def lacks(
    cls: str, contract: str, node: NodeBase, wanted: Sequence[str], has: Sequence[str]
) -> str:
    """Return the message for a class with none of the ``wanted`` methods; ``has`` are its own."""
    kind: str = getattr(node, "type")  # noqa: B009 - each subclass declares it, the base does not
    names = " or ".join(f"{one}()" for one in wanted)
    known = [one for one in has if not one.startswith("_")]
    return f"{cls} has no method {names}, which {contract} asks of a {kind}{hint(wanted[0], known)}"


def with_status(node: str, said: str, status: object) -> StatusError | None:
    """Return the error of a component that has a status for the client; None for another one."""
    if isinstance(status, int) and 400 <= status <= 599:
        return StatusError(node, said, status)
    return None


def check_synchronous(owner: str, method: Callable[..., Any]) -> None:
    """Raise CannotLoad for a coroutine function or a generator."""
    for is_other, word in (
        (inspect.iscoroutinefunction, "is async"),
        (inspect.isasyncgenfunction, "is an async generator"),
        (inspect.isgeneratorfunction, "is a generator"),
    ):
        if is_other(method):
            raise CannotLoad(f"{owner} must return its result, and {word}")


def check_takes(owner: str, count: int, parameters: Parameters) -> None:
    """Raise CannotLoad unless a method takes one positional argument, or up to ``count`` of them.

    It must not need more than these and a keyword ``meta``.
    """
    placed = [one for one in parameters if one.kind in BY_PLACE]
    required = [one.name for one in parameters if is_required(one) and one.name != "meta"]
    if not placed or len(required) > count:
        names = ", ".join(one.name for one in parameters) or "none"
        raise CannotLoad(f"{owner} must take up to {count} arguments (its parameters: {names})")
