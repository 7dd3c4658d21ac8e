"""All that can be said about a spec and the files beside it before anything of them is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from anabranch.client.bundle.folder import IGNORE_FILE, LeftOut, Survey, survey
from anabranch.components.artefacts.uris import is_uri
from anabranch.errors import FieldPath
from anabranch.graph.compile.bundled import check_bundled, named_files
from anabranch.graph.compile.draft import Draft
from anabranch.graph.compile.loading import Loaded, Pass, open_graph
from anabranch.specs.checks import Partial


def open_complete(path: Path, home: Path | None = None) -> Loaded:
    """Read and compile a spec that is to be deployed; ``home`` is that of the engine in use.

    Raises SpecError with all mistakes in it, among them: files, classes, methods and parameters
    that its nodes need and the folder does not have, and files that its bundle leaves out. Raises
    InvalidRequest where the folder is the home of an engine.
    """
    return open_graph(path, bundle_passes(path.parent.resolve(), home))


def bundle_passes(root: Path, home: Path | None = None) -> tuple[Pass, Pass]:
    """Return the passes that find what the bundle of the folder ``root`` would lack.

    Raises InvalidRequest where the folder is the home of an engine.
    """
    found = survey(root, home)
    return (
        lambda draft: check_bundled(draft, root),
        lambda draft: _packed(draft, root, found),
    )


def named_paths(loaded: Loaded) -> list[str]:
    """Return the paths in its folder that a spec names, and every text that might be one."""
    draft = Draft(Partial.of(loaded.graph))
    return [name for _, name in (*named_files(draft), *_in_arguments(draft)) if not is_uri(name)]


def _packed(draft: Draft, root: Path, found: Survey) -> Draft:
    """Refuse fields that name what the bundle leaves out."""
    mistakes = [
        (field, f"{name!r} is not in the bundle: {left_out.reason}{_remedy(left_out)}")
        for field, name in (*named_files(draft), *_in_arguments(draft))
        if (left_out := _left_out(name, root, found)) is not None
        and (left_out.is_secret or "args" not in field)
    ]
    return draft.with_problems(mistakes)


def _left_out(name: str, root: Path, found: Survey) -> LeftOut | None:
    path = PurePosixPath(name)
    if is_uri(name) or path.is_absolute() or ".." in path.parts:
        return None
    if not _exists(root / path):
        return None
    target = (root / path).resolve()
    if target.is_relative_to(root):
        behind = found.why_not(target.relative_to(root).as_posix())
        if behind is not None and behind.is_secret:
            return behind
    return found.why_not(str(path))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text that is no path, for its length alone
        return False


def _remedy(left_out: LeftOut) -> str:
    if left_out.is_secret:
        return "; no bundle holds secrets, so give it to the engine's processes another way"
    return f"; move or rename it, or change {IGNORE_FILE}"


def _in_arguments(draft: Draft) -> Iterator[tuple[FieldPath, str]]:
    """Yield the texts in arguments, which may name files."""
    for name, node in draft.source.nodes.items():
        yield from _texts(node.args, ("spec", "nodes", name, "args"))
    for name, monitor in draft.source.monitors.items():
        yield from _texts(monitor.args, ("spec", "monitors", name, "args"))


def _texts(value: object, path: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(each, (*path, key))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _texts(each, (*path, index))
