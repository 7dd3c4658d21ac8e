"""What the source of a component shows of its class, without running any of it.

A class is followed through imports and bases as far as they are files of the bundle and the source
leaves no doubt. Wherever it could mean something else at run time (a decorator, a metaclass, a base
from a library, a name that is bound twice or under a condition, `setattr` anywhere in the file) the
class or method counts as unknown. So nothing is reported that would not fail.
"""

from __future__ import annotations

import ast
import inspect
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from anabranch.components.contract import CannotLoad
from anabranch.components.source.classes import explain, inside, no_class, split
from anabranch.components.source.scopes import Scope, attributes_set, is_tricky, yields
from anabranch.components.source.signatures import Parameters, parameters_in, without_self

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_MAX_FOLLOWED = 32
"""Most imports and bases that are followed; more are a circle."""
_CHANGING = {"__init_subclass__", "__getattribute__", "__class__"}
"""Members with which a class is not what its source shows."""


class Unknown:
    """A method that is there, or may be, with parameters that the source does not tell."""


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Method:
    """A method, with its parameters as a call through an instance sees them; without annotations.

    ``place`` is its ``file:line`` in the bundle.
    """

    parameters: Parameters
    is_async: bool
    yields: bool
    place: str


@dataclass(frozen=True)
class ClassOutline:
    """A class; ``place`` is its ``file:line`` in the bundle."""

    name: str
    place: str
    constructor: Method | None
    """None where the source does not tell."""
    members: Mapping[str, Method | Unknown]
    changed: frozenset[str]
    """Names of attributes that some statement sets, of this object or another."""

    @property
    def methods(self) -> list[str]:
        """The names of its methods."""
        return [name for name, member in self.members.items() if isinstance(member, Method)]

    def method(self, name: str) -> Method | Unknown | None:
        """Return a method; None only where there is certainly none."""
        if name in self.changed or "__getattr__" in self.members:
            return UNKNOWN
        return self.members.get(name)


@dataclass(frozen=True)
class _Module:
    """A parsed file of the bundle; ``path`` is relative to it."""

    path: PurePosixPath
    scope: Scope
    set_attributes: frozenset[str]
    """Names of attributes that some statement sets or deletes, of whatever object."""


def outline(component: str, root: Path) -> ClassOutline | None:
    """Return what the source shows of a class such as ``file.py:Class``; None if it leaves it open.

    Raises CannotLoad where there is no such file or class in the bundle, the file is not Python, or
    the class is one of ``__main__``, which is no file of any bundle.
    """
    place, name = split(component)
    if place == "__main__":
        raise CannotLoad(
            f"{name!r} is a class of a notebook or script, which no engine can import: what it"
            " means depends on what was run there before; write it into a file beside the graph (in"
            f" a notebook by `%%writefile parts.py`), and name it 'parts.py:{name}'"
        )
    module = _own_file(place, root) if place.endswith(".py") else _imported(place, root)
    if module is None:
        return None
    if module.scope.lacks(name):
        raise no_class(place, name, module.scope.classes())
    return _Finder(root).outline(module, name)


def why_open(component: str, root: Path) -> str:
    """Return why the source of a component does not show its class, where ``outline`` gives None.

    Raises what ``outline`` does.
    """
    place, _ = split(component)
    if place.endswith(".py"):
        return "its source does not tell what its class is at run time"
    top, *_ = place.split(".")
    if _is_local(top, root) and not ((root / top).exists() or (root / f"{top}.py").exists()):
        return f"package {top!r} is neither in the bundle nor installed here"
    return f"{place!r} is imported only where the graph runs"


def _own_file(place: str, root: Path) -> _Module | None:
    path = inside(place, root)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise CannotLoad(f"cannot load {path.name}: {explain(error, root)}") from None
    except (OSError, RecursionError, MemoryError):
        return None
    return _parse(PurePosixPath(place), root)


def _imported(name: str, root: Path) -> _Module | None:
    """Return a module of the bundle by the name under which it is imported."""
    top, *_ = name.split(".")
    if not all(part.isidentifier() for part in name.split(".")) or not _is_local(top, root):
        return None
    return _module_at(PurePosixPath(*name.split(".")), root)


def _is_local(top: str, root: Path) -> bool:
    """Return whether a module can only be the bundle's: nothing that is installed is called so."""
    if top in sys.stdlib_module_names:
        return False
    try:
        found = find_spec(top)
    except (ImportError, ValueError):
        return False
    origin = None if found is None else found.origin
    return found is None or (origin is not None and Path(origin).is_relative_to(root.resolve()))


def _module_at(path: PurePosixPath, root: Path) -> _Module | None:
    """Return the module of a path without ``.py``: a package comes before a file of its name."""
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if (root / file).is_file():
            return _parse(file, root)
    return None


def _parse(path: PurePosixPath, root: Path) -> _Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse((root / path).read_bytes())
        if is_tricky(tree):
            return None
        return _Module(path, Scope(tree.body, tree), attributes_set(tree))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


class _Finder:
    """Follows one class through the files of a bundle."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._left = _MAX_FOLLOWED

    def outline(self, module: _Module, name: str) -> ClassOutline | None:
        self._left -= 1
        found = module.scope.definite(name)
        if self._left < 0 or found is None:
            return None
        if isinstance(found, ast.ImportFrom):
            return self._followed(module, found, name)
        return self._class(module, found) if isinstance(found, ast.ClassDef) else None

    def _followed(
        self, module: _Module, statement: ast.ImportFrom, name: str
    ) -> ClassOutline | None:
        meant = next(one.name for one in statement.names if name in (one.asname or one.name,))
        target = self._module(module, statement)
        return None if target is None else self.outline(target, meant)

    def _module(self, module: _Module, statement: ast.ImportFrom) -> _Module | None:
        if not statement.level:
            return _imported(statement.module or "", self._root)
        folder = module.path.parent
        if statement.level - 1 > len(folder.parts):
            return None
        for _ in range(statement.level - 1):
            folder = folder.parent
        target = folder.joinpath(*(statement.module or "").split("."))
        return _module_at(target, self._root) if target.name else None

    def _class(self, module: _Module, node: ast.ClassDef) -> ClassOutline | None:
        if node.decorator_list or node.keywords or getattr(node, "type_params", None):
            return None
        bases = [base for base in node.bases if not _is_plain_base(base, module)]
        if len(bases) > 1:
            return None
        base = self._base(module, bases[0]) if bases else _OBJECT
        if base is None:
            return None
        members = {**base.members, **_members(module, node)}
        changed = base.changed | module.set_attributes
        if _CHANGING & (members.keys() | changed):
            return None
        place = f"{module.path}:{node.lineno}"
        return ClassOutline(
            node.name, place, _constructor(members, changed, place), members, changed
        )

    def _base(self, module: _Module, base: ast.expr) -> ClassOutline | None:
        if (known := _known_base(base, module)) is not None:
            return known
        return self.outline(module, base.id) if isinstance(base, ast.Name) else None


_OBJECT = ClassOutline("object", "", None, {}, frozenset())
_ANYTHING = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
_SETTINGS = inspect.Parameter("settings", inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _base_of_others(name: str, takes: inspect.Parameter, package: str) -> ClassOutline:
    constructor = Method((takes,), is_async=False, yields=False, place=package)
    return ClassOutline(name, "", constructor, {"__init__": constructor}, frozenset())


_SELDON = _base_of_others("SeldonComponent", _ANYTHING, "seldon_core")
_MLMODEL = _base_of_others("MLModel", _SETTINGS, "mlserver")
_KNOWN = {
    ("seldon_core.user_model", "SeldonComponent"): _SELDON,
    ("mlserver", "MLModel"): _MLMODEL,
    ("mlserver.model", "MLModel"): _MLMODEL,
}
"""Bases of components of other systems. Of the methods that these define, none does anything that a
component need not do itself, so they count as left out."""
_PLAIN = {("abc", "ABC"), ("typing", "Generic")}
"""Bases from the library of Python that change nothing that is looked at here."""


def _is_plain_base(base: ast.expr, module: _Module) -> bool:
    named = base.value if isinstance(base, ast.Subscript) else base
    if not isinstance(named, ast.Name):
        return False
    if (origin := _origin(named.id, module)) is not None:
        return origin in _PLAIN
    return named.id == "object" and module.scope.lacks("object")


def _known_base(base: ast.expr, module: _Module) -> ClassOutline | None:
    origin = _origin(base.id, module) if isinstance(base, ast.Name) else None
    return None if origin is None else _KNOWN.get(origin)


def _origin(name: str, module: _Module) -> tuple[str, str] | None:
    """Return the module and the name from which a name is imported; None for any other."""
    found = module.scope.definite(name)
    if not isinstance(found, ast.ImportFrom) or found.level:
        return None
    names = {one.asname or one.name: one.name for one in found.names}
    return found.module or "", names[name]


def _constructor(
    members: Mapping[str, Method | Unknown], changed: frozenset[str], place: str
) -> Method | None:
    """Return the constructor; None where a class has more than a plain ``__init__``."""
    if {"__new__", "__signature__", "__init__"} & changed or members.keys() & {
        "__new__",
        "__signature__",
    }:
        return None
    found = members.get("__init__", Method((), is_async=False, yields=False, place=place))
    return found if isinstance(found, Method) else None


def _members(module: _Module, node: ast.ClassDef) -> dict[str, Method | Unknown]:
    scope = Scope(node.body)
    return {name: _member(module, scope, name) for name in scope.names()}


def _member(module: _Module, scope: Scope, name: str) -> Method | Unknown:
    found = scope.definite(name)
    if not isinstance(found, _Function):
        return UNKNOWN
    parameters = parameters_in(found.args)
    match found.decorator_list:
        case []:
            bound = without_self(parameters)
        case [ast.Name(id="classmethod" as kind)] if _is_builtin(kind, module, scope):
            bound = without_self(parameters)
        case [ast.Name(id="staticmethod" as kind)] if _is_builtin(kind, module, scope):
            bound = parameters
        case _:
            bound = None
    if bound is None:
        return UNKNOWN
    is_async = isinstance(found, ast.AsyncFunctionDef)
    return Method(bound, is_async, yields(found), f"{module.path}:{found.lineno}")


def _is_builtin(name: str, module: _Module, scope: Scope) -> bool:
    return module.scope.lacks(name) and scope.lacks(name)
