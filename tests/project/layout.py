"""Rules of the layout that import contracts cannot state; each returns the places that break it."""

from __future__ import annotations

import ast
import gc
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
Floors = Sequence[Collection[str]]
"""Names of packages, from the uppermost floor to the lowest; packages of one floor are apart."""


def crowded(package: Path, most: int) -> list[str]:
    """Return folders with more than ``most`` Python files."""
    found = ((folder, len(list(folder.glob("*.py")))) for folder in folders(package))
    return [f"{folder}: {count} files" for folder, count in found if count > most]


def imports_of(package: Path, library: str, allowed: Collection[str]) -> list[str]:
    """Return imports of a library, wherever in a module, outside the allowed places.

    A place is a path below the package: of a file, or of a folder, with a slash at its end.
    """
    return [
        f"{path}:{node.lineno}"
        for path, tree in modules(package, library)
        for node in ast.walk(tree)
        if library in imported(node) and not lies_in(path.relative_to(package), allowed)
    ]


def imported(node: ast.AST) -> set[str]:
    """Return the packages that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return {(node.module or "").partition(".")[0]}
    return set()


def imported_on_collection(tests: Path, library: str) -> list[str]:
    """Return test modules that import a library as soon as pytest collects them."""
    return [
        str(path) for path, tree in modules(tests, library) if library in set(_at_once(tree.body))
    ]


def _at_once(statements: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the packages that statements import, `importorskip` too, but not in functions."""
    for node in statements:
        yield from imported(node)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                continue
            case ast.Call(func=ast.Attribute(attr="importorskip"), args=[ast.Constant(value), *_]):
                yield str(value).partition(".")[0]
        yield from _at_once(ast.iter_child_nodes(node))


def repeated_classes(package: Path) -> list[str]:
    """Return public classes of one name; those that are registered are found by another name."""
    places = defaultdict(list)
    for path, tree in modules(package):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name[0] != "_" and not _registered(node):
                places[node.name].append(str(path))
    return [f"{name}: {', '.join(there)}" for name, there in places.items() if len(there) > 1]


def defined(tests: Path, names: Collection[str]) -> dict[str, list[str]]:
    """Return the modules in which functions or classes of some names stand, not in others."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for path, tree in modules(tests):
        for node in tree.body:
            if isinstance(node, DEFINITIONS) and node.name in found:
                found[node.name].append(path.relative_to(tests).as_posix())
    return found


def _registered(node: ast.ClassDef) -> bool:
    decorators = (one.func for one in node.decorator_list if isinstance(one, ast.Call))
    return any(isinstance(one, ast.Name) and one.id == "register" for one in decorators)


def untold(package: Path) -> list[str]:
    """Return folders whose ``__init__`` does not open with one sentence about what they hold."""
    return [str(folder) for folder in folders(package) if not _is_told(folder / "__init__.py")]


def _is_told(init: Path) -> bool:
    text = ast.get_docstring(ast.parse(init.read_text())) if init.exists() else None
    opening = (text or "").partition("\n\n")[0]
    return opening.endswith(".") and re.search(r"[.!?]\s+[A-Z]", opening) is None


def named_upwards(package: Path, floors: Floors, exceptions: Collection[str] = ()) -> list[str]:
    """Return string literals, docstrings excepted, that name a module of an upper floor."""
    heights = {name: height for height, names in enumerate(reversed(floors)) for name in names}
    found = []
    for path, tree in modules(package):
        inside = path.relative_to(package)
        own = inside.parts[0].removesuffix(".py")
        for line, text in _literals(tree):
            for name in re.findall(rf"\b{package.name}\.(\w+)", text):
                upper = name != own and heights.get(name, -1) >= heights.get(own, len(floors))
                if upper and not lies_in(inside, exceptions):
                    found.append(f"{path}:{line}: {text}")
    return found


def _literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.lineno, node.value


def unmirrored(package: Path, tests: Path, exceptions: Mapping[str, str]) -> list[str]:
    """Return tests of no module, and exceptions that are none."""
    found = [path.relative_to(tests) for path in sorted(tests.rglob("test_*.py"))]
    odd = [path for path in found if not _mirrors(path, package)]
    alone = [f"{path} tests no module" for path in odd if not lies_in(path, exceptions)]
    idle = [name for name in exceptions if not any(lies_in(path, [name]) for path in odd)]
    return alone + [f"{name} needs no exception" for name in idle]


def _mirrors(test: Path, package: Path) -> bool:
    module = package / test.parent / test.stem.removeprefix("test_")
    return module.is_dir() or module.with_suffix(".py").is_file()


def lies_in(path: Path, places: Collection[str]) -> bool:
    """Tell whether a path is one of some files, or in one of some folders."""
    text = path.as_posix()
    return any(text == one or (one.endswith("/") and text.startswith(one)) for one in places)


def folders(package: Path) -> list[Path]:
    """Return all folders with Python files."""
    return sorted({path.parent for path in package.rglob("*.py")})


@cache
def modules(package: Path, word: str = "") -> list[tuple[Path, ast.Module]]:
    """Return all Python files in which a word stands, with their syntax trees."""
    found = [(path, _tree(text)) for path, text in _texts(package)
             if re.search(rf"\b{word}\b", text)]  # fmt: skip
    gc.freeze()  # the trees stay, and a collection that walked them would take a second
    return found


@cache
def _texts(package: Path) -> list[tuple[Path, str]]:
    return [(path, path.read_text()) for path in sorted(package.rglob("*.py"))]


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)
