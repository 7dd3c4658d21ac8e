"""The Python packages that an image needs, as they are installed in this environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    packages_distributions,
)
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from anabranch.client.image.layers import Content
from anabranch.errors import InvalidRequest

OWN = "anabranch"
WITHOUT = frozenset({"ray"})
"""What an engine needs and a graph alone does not."""
_LEFT_OUT = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
"""Notes of installers about the machine, in the metadata of distributions."""
_FOLDER_OF_PACKAGE = Path(__file__).parents[2]


def distributions_of_modules(modules: Iterable[str]) -> set[str]:
    """Return the names of the distributions that have brought top-level modules."""
    known = packages_distributions()
    found: set[str] = {
        canonicalize_name(name) for module in modules for name in known.get(module, ())
    }
    return found - WITHOUT


def closure(names: Iterable[str]) -> dict[str, Distribution]:
    """Return distributions with all that they require, by name, without what engines need alone.

    InvalidRequest for a name of which nothing is installed here.
    """
    found: dict[str, Distribution] = {}
    left: list[str] = sorted({canonicalize_name(name) for name in names})
    while left:
        name = left.pop()
        if name in found or name in WITHOUT:
            continue
        found[name] = _installed(name)
        left += [one for one in _requires(found[name]) if one not in found and _is_here(one)]
    return dict(sorted(found.items()))


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise InvalidRequest(
            f"package {name!r} is not installed in this environment, from which the image gets its "
            "packages: install it, and run the command again"
        ) from None


@cache
def _is_here(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _requires(one: Distribution) -> Iterator[str]:
    for text in one.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def entries_of_distributions(found: Mapping[str, Distribution], site: str) -> dict[str, Content]:
    """Return the files of distributions at the folder ``site`` of an image."""
    entries: dict[str, Content] = {}
    for name, one in found.items():
        if name == OWN:
            entries |= dict(_own(site))
        entries |= dict(_files(one, site))
    return entries


def _files(one: Distribution, site: str) -> Iterator[tuple[str, Content]]:
    for file in one.files or ():
        path = PurePosixPath(file)
        is_inside = not path.is_absolute() and ".." not in path.parts
        if not is_inside or "__pycache__" in path.parts or path.suffix in (".pth", ".pyc"):
            continue
        if path.name in _LEFT_OUT and path.parent.suffix == ".dist-info":
            continue
        place = Path(str(one.locate_file(file)))
        if place.is_file():
            yield f"{site}/{path}", place


def _own(site: str) -> Iterator[tuple[str, Content]]:
    """Yield this package's files, which may be a clone's and not of the environment."""
    for path in sorted(_FOLDER_OF_PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{site}/{OWN}/{path.relative_to(_FOLDER_OF_PACKAGE).as_posix()}", path
