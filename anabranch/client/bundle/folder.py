"""Which files of a spec's folder its bundle holds.

Left out are hidden files, ``__pycache__``, ``node_modules``, virtual environments, links that leave
the folder, what ``.anabranchignore`` matches (one shell pattern a line, ``folder/`` for folders,
``#`` for comments; a pattern without a slash matches a name at any depth), and secrets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from anabranch.client.bundle.secrets import HEAD, is_home, secret
from anabranch.components.artefacts.bundled import FOLDER, MANIFEST
from anabranch.errors import InvalidRequest, TooLarge

IGNORE_FILE = ".anabranchignore"
MAX_FILES = 20_000
"""Most files of a bundle."""
HOME = "the home of an engine, with its tokens"
_SKIPPED_FOLDERS = {"__pycache__", "node_modules", "venv", FOLDER}


@dataclass(frozen=True)
class LeftOut:
    """Why a file or a folder is not in the bundle, as in ``it is hidden``."""

    reason: str
    is_secret: bool = False


@dataclass(frozen=True)
class Survey:
    """The files that a bundle holds, in order, and what it leaves out, as paths in the folder."""

    files: tuple[str, ...]
    left_out: Mapping[str, LeftOut]

    def why_not(self, path: str) -> LeftOut | None:
        """Return why the bundle does not have a file or folder that is there; None if it does."""
        pure = PurePosixPath(path)
        for one in (pure, *pure.parents):
            if str(one) in self.left_out:
                return self.left_out[str(one)]
        if any(PurePosixPath(file).is_relative_to(pure) for file in self.files):
            return None
        return LeftOut("it is empty, or a link to a folder leads to it")


def survey(root: Path, home: Path | None = None) -> Survey:
    """Look through the folder ``root``; ``home`` is that of the engine in use.

    Linked folders are not entered, for they may lead in circles. Raises InvalidRequest where the
    folder itself is the home of an engine, and TooLarge where it holds over MAX_FILES files.
    """
    return _Search(root.resolve(), home).survey()


class _Search:
    """A look through one folder."""

    def __init__(self, root: Path, home: Path | None) -> None:
        self._root = root
        self._home = None if home is None else home.resolve()
        self._patterns = _ignored(root)
        self._files: list[str] = []
        self._left_out: dict[str, LeftOut] = {}

    def survey(self) -> Survey:
        if self._is_home(self._root):
            raise InvalidRequest(
                f"{self._root} is {HOME}: no bundle is made of it; move the spec and its files "
                "into a folder of their own"
            )
        for folder, folders, names in os.walk(self._root):
            here = Path(folder)
            folders[:] = sorted(one for one in folders if self._keeps(here / one, self._folder))
            kept = (name for name in sorted(names) if self._keeps(here / name, self._file))
            self._files += [self._relative(here / name) for name in kept]
            if len(self._files) > MAX_FILES:
                raise TooLarge(
                    f"{self._root} holds over {MAX_FILES} files; leave some out by {IGNORE_FILE}"
                )
        return Survey(tuple(self._files), self._left_out)

    def _keeps(self, path: Path, judge: Judge) -> bool:
        found = judge(path)
        if found is not None:
            self._left_out[self._relative(path)] = found
        return found is None

    def _folder(self, path: Path) -> LeftOut | None:
        if self._is_home(path):
            return LeftOut(f"it is {HOME}", is_secret=True)
        if path.name.startswith("."):
            return LeftOut("it is hidden")
        if path.name in _SKIPPED_FOLDERS or (path / "pyvenv.cfg").is_file():
            return LeftOut("it holds what was installed or generated")
        return self._unwanted(path)

    def _file(self, path: Path) -> LeftOut | None:
        what = self._secret(path)
        if what is not None:
            return LeftOut(f"it is {what}", is_secret=True)
        if path.name.startswith("."):
            return LeftOut("it is hidden")
        if not path.is_file():
            return LeftOut("it is no file that can be read")
        if not path.resolve().is_relative_to(self._root):
            return LeftOut("it is a link that leads out of the folder")
        if path.name == MANIFEST:
            return LeftOut("bundles have a file of this name of their own")
        return self._unwanted(path)

    def _secret(self, path: Path) -> str | None:
        """Return what kind of secret a file is, or the file that a link leads to."""
        if not path.is_file():
            return secret(PurePosixPath(self._relative(path)), b"")
        target = path.resolve()
        head = _head(target)
        for one in {path, target}:
            inside = one.is_relative_to(self._root)
            plain = PurePosixPath(self._relative(one) if inside else one.as_posix())
            if (what := secret(plain, head)) is not None:
                return what
        if target != path and any(self._is_home(folder) for folder in target.parents):
            return f"a file in {HOME}"
        return None

    def _is_home(self, folder: Path) -> bool:
        if folder.resolve() == self._home:
            return True
        try:
            return is_home(set(os.listdir(folder)))  # noqa: PTH208 - names alone
        except OSError:
            return False

    def _unwanted(self, path: Path) -> LeftOut | None:
        relative = PurePosixPath(self._relative(path))
        for pattern in self._patterns:
            if _match(relative, path.is_dir(), pattern):
                return LeftOut(f"{IGNORE_FILE} has {pattern!r}")
        return None

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


Judge = Callable[[Path], LeftOut | None]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def _ignored(root: Path) -> tuple[str, ...]:
    path = root / IGNORE_FILE
    lines: Iterable[str] = path.read_text("utf-8").splitlines() if path.is_file() else ()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _match(path: PurePosixPath, is_folder: bool, pattern: str) -> bool:
    if pattern.endswith("/") and not is_folder:
        return False
    pattern = pattern.rstrip("/")
    return fnmatchcase(str(path) if "/" in pattern else path.name, pattern.lstrip("/"))
