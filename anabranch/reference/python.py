"""The Python API in sections, from the docstrings of all that ``anabranch`` exports."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import anabranch
from anabranch.errors import AnabranchError
from anabranch.reference.markdown import block, call, code, plain, prose, table


def sections() -> str:
    """Return a section for each exported name that is no error; errors have a page of their own."""
    return "\n\n".join(_section(name, found) for name, found in exported())


def exported() -> list[tuple[str, Any]]:
    """Return what ``anabranch`` exports, without the errors."""
    found = [(name, getattr(anabranch, name)) for name in anabranch.__all__]
    return [(name, one) for name, one in found if not _is_error(one)]


def _is_error(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, AnabranchError)


def _section(name: str, found: Any) -> str:
    title = f"## anabranch.{name}"
    if not inspect.isclass(found):
        return "\n\n".join([title, block(call(found, name)), prose(found.__doc__)])
    parts = [title, *_construction(name, found), prose(found.__doc__), *_fields(found)]
    return "\n\n".join([*parts, *_methods(found)])


def _construction(name: str, found: type) -> list[str]:
    made = vars(found).get("__init__")
    is_plain = dataclasses.is_dataclass(found) or not inspect.isfunction(made)
    return [] if is_plain else [block(call(made, name).removesuffix(" -> None"))]


def _fields(found: type) -> list[str]:
    if not dataclasses.is_dataclass(found):
        return []
    told = _told(found)
    rows = [
        [code(one.name), code(str(one.type)), _default(one), told.get(one.name, "")]
        for one in dataclasses.fields(found)
    ]
    return [table(("field", "type", "default", "meaning"), rows)]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return code(repr(field.default))
    made = field.default_factory
    return "" if made is dataclasses.MISSING else code(repr(made()))


def _told(found: type) -> dict[str, str]:
    """Return the text under each field of a class, from its source."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(found))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        one.target.id: plain(inspect.cleandoc(str(below.value.value)))
        for one, below in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(one, ast.AnnAssign)
        and isinstance(one.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    }


def public(found: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, own and inherited from the package."""
    seen: set[str] = set()
    for owner in found.__mro__:
        if not owner.__module__.startswith("anabranch"):
            continue
        for name, one in vars(owner).items():
            is_method = inspect.isfunction(one) or isinstance(one, property | classmethod)
            if not name.startswith("_") and is_method and name not in seen:
                seen.add(name)
                yield name, one


def _methods(found: type) -> Iterator[str]:
    for name, one in public(found):
        function = one.fget if isinstance(one, property) else getattr(one, "__func__", one)
        signature = call(function, name)
        if isinstance(one, property):
            signature = signature.replace("()", "", 1).replace(" -> ", ": ", 1)
        yield f"### {found.__name__}.{name}"
        yield block(signature)
        yield prose(function.__doc__)
