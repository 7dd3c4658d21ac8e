"""Classes by reference: ``file.py:Class`` inside the bundle, or ``package.module:Class``.

Every failure is a ``CannotLoad`` that names the file, the class and what there is instead.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from anabranch.components.contract import CannotLoad
from anabranch.components.raised import pass_interrupt, text_of
from anabranch.components.source.roots import active, files_of, forget, package_of
from anabranch.specs.excerpts import hint, listing

_NO_MODELS = frozenset({".ipynb", ".md", ".py", ".toml", ".yaml", ".yml"})
"""Suffixes of files that are not named where a model or data is missing."""
_Stamp = tuple[int, int] | None
_stamps: dict[Path, dict[str, _Stamp]] = {}
"""Root: file of each module that came from it, with its time of change and size at that time."""


def load_class(component: str, root: Path) -> type:
    """Return the class that ``component`` names; CannotLoad says why there is none."""
    place, name = split(component)
    with active(root):
        if place.endswith(".py"):
            return _class_in(load_file(place, root), name, place)
        return _class_in(_load_module(place, root), name, place)


def split(component: str) -> tuple[str, str]:
    """Return the file or module, and the class, that ``component`` names; CannotLoad for others."""
    place, separator, name = component.rpartition(":")
    if not separator or not place or not name:
        raise CannotLoad(f"component {component!r}: write file.py:Class or package.module:Class")
    return place, name


def inside(relative: str, root: Path, folders: bool = False) -> Path:
    """Return the path of a file in the bundle; CannotLoad where it is missing or leads out.

    With ``folders`` it may be a folder too, but not all of the bundle.
    """
    top = root.resolve()
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise CannotLoad(f"{relative!r} must be a path inside the folder of the spec")
    try:
        found = (top / path).resolve()
    except (OSError, RuntimeError) as error:
        raise CannotLoad(f"{relative!r} cannot be read: {error}") from None
    if not found.is_relative_to(top):
        raise CannotLoad(f"{relative!r} is a link that leads out of the folder of the spec")
    if not found.is_file() and not (folders and found.is_dir() and found != top):
        raise CannotLoad(f"there is no file {relative!r}{_neighbours(path, top)}")
    return found


def _neighbours(path: Path, top: Path) -> str:
    """Return what there is where ``path`` was looked for."""
    folder = top / path.parent
    if not folder.is_dir():
        return f" (there is no folder {str(path.parent)!r} either)"
    kind = sorted(entry.name for entry in folder.glob(f"*{path.suffix}") if entry.is_file())
    if kind:
        return hint(path.name, kind)
    there = sorted(entry.name for entry in folder.iterdir() if entry.suffix not in _NO_MODELS)
    if there:
        return f" (the folder holds {listing(there)})"
    return f" (its folder has no {path.suffix} file)"


def load_file(relative: str, root: Path) -> ModuleType:
    """Return the module of a Python file in the bundle.

    It is read once; all of the bundle's modules are read again when one of their files changed.
    """
    path = inside(relative, root)
    plain = ".".join(Path(relative).with_suffix("").parts)
    name = f"{package_of(root)}.{re.sub(r'[^A-Za-z0-9_.]', '_', plain)}"
    top = root.resolve()
    if any(_stamp(file) != known for file, known in _stamps.get(top, {}).items()):
        forget(root)
        del _stamps[top]
    if name not in sys.modules:
        _execute(name, plain, path, root)
        _stamps[top] = {file: _stamp(file) for file in files_of(root)}
    return sys.modules[name]


def _stamp(file: str) -> _Stamp:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _execute(name: str, plain: str, path: Path, root: Path) -> None:
    """Run the file as module ``name``; ``plain`` means it too, for those that import it by that."""
    spec = spec_from_file_location(name, path)
    assert spec is not None
    module = module_from_spec(spec)
    aliases = [name, *([] if plain in sys.modules else [plain])]
    sys.modules.update(dict.fromkeys(aliases, module))
    try:
        # Compiled here: cached bytecode can be stale when a file changes twice within a second.
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        for alias in aliases:
            sys.modules.pop(alias, None)
        pass_interrupt(error)
        raise CannotLoad(f"cannot load {path.name}: {explain(error, root)}") from None


def _load_module(place: str, root: Path) -> ModuleType:
    if not all(part.isidentifier() for part in place.split(".")):
        raise CannotLoad(f"{place!r} is neither a .py file nor the name of a module")
    try:
        return importlib.import_module(place)
    except BaseException as error:
        pass_interrupt(error)
        raise CannotLoad(f"cannot import {place}: {explain(error, root)}") from None


def _class_in(module: ModuleType, name: str, place: str) -> type:
    found = getattr(module, name, None)
    if inspect.isclass(found):
        return found
    if found is not None:
        raise CannotLoad(f"{place}:{name} is a {type(found).__name__}, not a class")
    classes = [key for key, value in vars(module).items() if _is_candidate(value, module)]
    raise no_class(place, name, classes)


def no_class(place: str, name: str, classes: Iterable[str]) -> CannotLoad:
    """Return the error for a module without a class of that name; ``classes`` are those it has."""
    public = [one for one in classes if not one.startswith("_")]
    return CannotLoad(f"{place} has no class {name!r}{hint(name, public) or ' (it defines none)'}")


def _is_candidate(value: object, module: ModuleType) -> bool:
    return inspect.isclass(value) and value.__module__ == module.__name__


def explain(error: BaseException, root: Path) -> str:
    """Return an exception in one line, with the place in the bundle where it was raised."""
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else text_of(error)).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = _raised_at(error, root)
    return f"{what} ({place})" if place else what


def _raised_at(error: BaseException, root: Path) -> str | None:
    """Return file:line of the syntax error, or of the innermost frame that runs a bundle's file."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{_relative(error.filename, root)}:{error.lineno}"
    found = None
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if _relative(file, root) != file:
            found = f"{_relative(file, root)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _relative(file: str, root: Path) -> str:
    top = root.resolve()
    return str(Path(file).relative_to(top)) if Path(file).is_relative_to(top) else file
