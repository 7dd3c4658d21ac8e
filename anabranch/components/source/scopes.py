"""Which names the source of a module or class certainly binds, and which it certainly does not."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.ImportFrom
_TRICKS = {
    "__builtins__", "__dict__", "__import__", "__setattr__", "__delattr__", "builtins", "delattr",
    "eval", "exec", "globals", "locals", "modules", "setattr", "vars",
}  # fmt: skip
"""Names by which code may bind or set any name, out of sight of this module."""


class Scope:
    """The names that the body of a module or class binds, whatever order and condition they have.

    Functions have scopes of their own, but may bind a name that they declare ``global``; ``tree``
    is searched for these.
    """

    def __init__(self, body: Iterable[ast.stmt], tree: ast.AST | None = None) -> None:
        self._straight = list(body)
        self._bound: dict[str, list[ast.AST]] = {}
        declared = [node for node in ast.walk(tree) if isinstance(node, ast.Global)] if tree else []
        for node in (*_within(self._straight), *declared):
            for name in _names_bound(node):
                self._bound.setdefault(name, []).append(node)
        self._is_open = "*" in self._bound  # an import may bind any name

    def definite(self, name: str) -> Definition | None:
        """Return the one statement that binds a name, if nothing can keep it from doing so.

        None too where the statement is no definition of a class or function, or import of a name.
        """
        found = self._bound.get(name, [])
        if self._is_open or len(found) != 1 or not any(one is found[0] for one in self._straight):
            return None
        return found[0] if isinstance(found[0], Definition) else None

    def lacks(self, name: str) -> bool:
        """Return whether the name is certainly not bound."""
        return not self._is_open and name not in self._bound and "__getattr__" not in self._bound

    def names(self) -> Iterator[str]:
        """Yield the names that are bound, or may be."""
        yield from self._bound

    def classes(self) -> list[str]:
        """Return the names of the classes that are defined here."""
        return [one.name for one in self._straight if isinstance(one, ast.ClassDef)]


def _within(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield all nodes of one scope: of functions and classes what is evaluated outside of them."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                waiting += (*node.decorator_list, *node.args.defaults)
                waiting += (one for one in node.args.kw_defaults if one is not None)
            case ast.ClassDef():
                waiting += (*node.decorator_list, *node.bases, *node.keywords)
            case ast.Lambda():
                pass
            case _:
                waiting += ast.iter_child_nodes(node)


def _names_bound(node: ast.AST) -> list[str]:
    """Return the names that a node itself binds or deletes; ``*`` stands for any."""
    match node:
        case ast.Name(ctx=ast.Load()):
            return []
        case ast.Name(id=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.ClassDef(name=name):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            return [name]
        case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.Import(names=names):
            return [one.asname or one.name.partition(".")[0] for one in names]
        case ast.ImportFrom(names=names):
            return [one.asname or one.name for one in names]
        case ast.Global(names=declared):
            return declared
    return []


def attributes_set(tree: ast.AST) -> frozenset[str]:
    """Return the names of all attributes that some statement sets or deletes, of any object."""
    return frozenset(
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
    )


def is_tricky(tree: ast.AST) -> bool:
    """Return whether the code may bind names in ways that its statements do not show."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                if name in _TRICKS:
                    return True
    return False


def yields(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function is a generator: it yields, and not only a function within it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return False
