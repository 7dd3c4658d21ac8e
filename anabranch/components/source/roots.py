"""Bundle folders as import roots, several in one process.

Python keeps one table of modules by name, so two bundles that both have ``helpers.py`` would share
whichever came first. One root is therefore *active* at a time: it stands first on ``sys.path``, and
when another takes over, the modules that were imported from it are set aside, to be put back (the
same objects) when it is active again.

An import statement inside a method runs when it is called and sees the root that is active then;
``from . import helpers`` always means the bundle's own, as each root is a package too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from threading import RLock
from types import ModuleType

_PREFIX = "anabranch_bundle_"
_OURS = __name__.partition(".")[0]
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_lock = RLock()
_set_aside: dict[Path, dict[str, ModuleType]] = {}
_roots: frozenset[Path] = frozenset()
"""All roots that were active, and not dropped; replaced as a whole, for threads read it."""
_active: Path | None = None
_before: frozenset[str] = frozenset()
"""Names of the modules that were there when the active root took over."""
_is_marked = False
"""Whether modules older than this one are known to come from no bundle."""


def mark_modules() -> None:
    """Take all modules that are imported now for modules of no bundle, and leave them alone.

    A look at an object writes to its memory: a forked process would get a copy of its own of all
    that it shares with others, some 20 MiB.
    """
    global _is_marked
    with _lock:
        sys.modules[__name__] = sys.modules.pop(__name__)  # the newest: the table keeps its order
        _is_marked = True


@contextmanager
def active(root: Path) -> Iterator[None]:
    """Make ``root`` the active root; it stays so afterwards. One thread at a time gets in."""
    with _lock:
        _activate(root.resolve())
        yield


def root_of(file: object) -> Path | None:
    """Return the bundle's root in which a file is that was imported; None if it is in none."""
    if not isinstance(file, str):
        return None
    return next((root for root in _roots if _is_inside(file, f"{root}{os.sep}")), None)


def forget(root: Path) -> None:
    """Drop every module that was imported from ``root``, so that the next import reads its file."""
    with _lock:
        resolved = root.resolve()
        _set_aside.pop(resolved, None)
        for name in _modules_of(resolved):
            del sys.modules[name]


def is_shared(name: str) -> bool:
    """Return whether a module is there that all bundles share: its import need not wait."""
    module = sys.modules.get(name.partition(".")[0])
    return module is not None and all(root_of(place) is None for place in _places(module))


def loaded(root: Path, name: str) -> ModuleType | None:
    """Return a root's own module of that name, if it was imported; from any thread, at once."""
    module = _set_aside.get(root, {}).get(name) or sys.modules.get(name)
    is_own = module is not None and any(_is_inside(p, f"{root}{os.sep}") for p in _places(module))
    return module if is_own else None


@contextmanager
def borrowed(root: Path) -> Iterator[None]:
    """Make ``root`` the active root for now; the one before is active again afterwards."""
    with _lock:
        before = _active
        _activate(root)
        try:
            yield
        finally:
            if before is not None:
                _activate(before)


def drop(root: Path) -> None:
    """Forget a root and its modules: nothing of it is used any more."""
    global _active, _roots
    with _lock:
        resolved = root.resolve()
        if _active == resolved:
            _deactivate(resolved)
            _active = None
        forget(resolved)
        sys.modules.pop(package_of(resolved), None)
        _roots -= {resolved}


def files_of(root: Path) -> list[str]:
    """Return the files of the modules that were imported from ``root`` and are in use."""
    files = [getattr(sys.modules[name], "__file__", None) for name in _modules_of(root.resolve())]
    return [file for file in files if isinstance(file, str)]


def package_of(root: Path) -> str:
    """Return the name of the package that stands for ``root``, whose modules are its files."""
    resolved = root.resolve()
    name = _PREFIX + sha256(os.fsencode(resolved)).hexdigest()[:12]
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(resolved)]
        sys.modules[name] = package
    return name


def _activate(root: Path) -> None:
    global _active, _before, _roots
    if root == _active:
        return
    if _active is not None:
        _deactivate(_active)
    _active, _before = root, frozenset(_names())
    _roots |= {root}
    sys.path.insert(0, str(root))
    sys.modules.update(_set_aside.pop(root, {}))


def _deactivate(root: Path) -> None:
    if str(root) in sys.path:
        sys.path.remove(str(root))
    names = [name for name in _modules_of(root) if not name.startswith(_PREFIX)]
    _set_aside[root] = {name: sys.modules.pop(name) for name in names if name not in _before}


def _modules_of(root: Path) -> list[str]:
    """Return the names of the modules that came from ``root`` and are part of no installation."""
    folder = str(root) + os.sep
    return [
        name
        for name in _names()
        if (module := sys.modules.get(name)) is not None
        and any(_is_inside(place, folder) for place in _places(module))
        and name.partition(".")[0] not in (_OURS, "__main__")
    ]


def _names() -> list[str]:
    """Return the names of the modules that may come from a bundle."""
    if not _is_marked:
        return list(sys.modules)  # in one go: a loop would not bear imports in other threads
    while True:
        try:
            return list(takewhile(__name__.__ne__, reversed(sys.modules)))[::-1]
        except RuntimeError:  # another thread has imported something meanwhile
            continue


def _places(module: ModuleType) -> list[str]:
    """Return the module's file, or the folders of a package without one."""
    file = getattr(module, "__file__", None)
    return [file] if isinstance(file, str) else [str(one) for one in _folders(module)]


def _folders(module: ModuleType) -> list[str]:
    try:
        folders = getattr(module, "__path__", ())
        # A namespace package that is asked, for its length too, looks for its folders anew, and
        # finds those of the root that is active.
        return list(getattr(folders, "_path", folders))
    except Exception:  # a lazy module of some package may do anything when it is asked
        return []


def _is_inside(place: str, folder: str) -> bool:
    return place.startswith(folder) and not any(part in place for part in _INSTALLED)
