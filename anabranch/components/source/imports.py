"""Imports that run late, in methods, in a process that serves several bundles.

An import statement finds the modules of the bundle that is active. Where several bundles share a
process, another one than the importer's may be.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from anabranch.components.source.roots import borrowed, is_shared, loaded, root_of

_import = builtins.__import__


def import_for_importer() -> None:
    """Have import statements of a bundle's code find that bundle's modules from now on."""
    builtins.__import__ = _imported


def _imported(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    root = None if globals is None else root_of(globals.get("__file__"))
    if root is None or (level == 0 and is_shared(name)):
        return _import(name, globals, locals, fromlist or (), level)
    if level == 0 and (found := _found(root, name, fromlist or ())) is not None:
        return found
    with borrowed(root):
        return _import(name, globals, locals, fromlist or (), level)


def _found(root: Path, name: str, fromlist: Sequence[str]) -> ModuleType | None:
    """Return what an import statement gives where all that it asks for was imported before.

    So a method that imports each time it is called does not wait for bundles that are loaded.
    """
    module = loaded(root, name)
    if module is None or not fromlist:
        return None if module is None else loaded(root, name.partition(".")[0])
    return module if all(hasattr(module, one) for one in fromlist) else None
