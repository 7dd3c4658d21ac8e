"""Python environments for bundles that bring a ``requirements.txt``.

An environment is a thin layer over the engine's own: what the engine has is seen through, what
the requirements name in another version lies in front of it. So nothing is copied, installs are
quick, and two graphs with different dependencies run side by side.

The layer is on disk in the engine's home. On a cluster each machine makes the layers that its
replicas need, in a home of its own (``worker_python``).
"""

from __future__ import annotations

import hashlib
import math
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from pathlib import Path

from anabranch.components.artefacts.locks import locked
from anabranch.control.release.bundles import REQUIREMENTS
from anabranch.errors import ArtefactError, DeployError

_COMPLETE = "anabranch-complete"
_SHOWN_LINES = 5
_BLOCK = 512
"""Bytes of the blocks in which the system tells the sizes of files."""


class Environments:
    """Environments in ``folder``, one for each set of requirements."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self._folder = folder
        self._timeout = timeout

    def python(
        self, requirements: bytes, bundle: str, write: Callable[[Path], object]
    ) -> Path | None:
        """The interpreter for a bundle, made if need be; None if it asks for nothing.

        ``bundle`` is its digest, and ``write`` puts its files into a folder. One process makes an
        environment while others wait. Raises DeployError with the installer's last words.
        """
        if not asks(requirements):
            return None
        folder = self._folder / key(requirements, bundle)
        with self._making(folder.name):
            if not (folder / _COMPLETE).exists():
                self._make(folder, write)
            (folder / _COMPLETE).touch()  # it is as good as new to ``collect``
        return folder / "bin" / "python"

    def lacks(self, requirements: bytes, bundle: str) -> bool:
        """Return whether a bundle asks for what is not installed yet."""
        folder = self._folder / key(requirements, bundle)
        return asks(requirements) and not (folder / _COMPLETE).exists()

    def collect(
        self, used: Container[str], before: float, most: float = math.inf, spared: float = 0.0
    ) -> int:
        """Remove environments that were last asked for before a Unix time and are not ``used``,
        by ``key``, and those left half-made before it. Gives their number.

        Where all take more than ``most`` bytes, those of them that were asked for longest ago go,
        too, but none since ``spared``, a Unix time.
        """
        gone = 0
        found = sorted((_asked_at(folder), folder) for folder in self._folder.glob("*"))
        sizes = {folder: _size(folder) if most < math.inf else 0 for _, folder in found}
        total = sum(sizes.values())
        for asked, folder in found:
            is_beyond = total > most and asked < spared
            if folder.name not in used and (asked < before or is_beyond):
                (folder / _COMPLETE).unlink(missing_ok=True)  # a half-removed one is made anew
                shutil.rmtree(folder, ignore_errors=True)
                total -= sizes[folder]
                gone += 1
        return gone

    def kept(self) -> tuple[int, int, float | None]:
        """Return the number of environments, their bytes, and when one was asked for longest ago.

        Their bytes are those that their own files take.
        """
        found = list(self._folder.glob("*"))
        oldest = min(map(_asked_at, found), default=None)
        return len(found), sum(map(_size, found)), oldest

    @contextmanager
    def _making(self, name: str) -> Iterator[None]:
        locks = self._folder.with_name(f"{self._folder.name}-locks")
        try:
            with locked(locks / name, time.monotonic() + self._timeout):
                yield
        except ArtefactError as error:
            raise DeployError(f"{REQUIREMENTS}: {error}") from None

    def _make(self, folder: Path, write: Callable[[Path], object]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=True, with_pip=False)
        layer = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        (layer / "_anabranch_engine.pth").write_text(
            "".join(f"import site; site.addsitedir({path!r})\n" for path in _site_packages())
        )
        with tempfile.TemporaryDirectory() as source:
            write(Path(source))
            self._install(folder / "bin" / "python", Path(source))

    def _install(self, python: Path, source: Path) -> None:
        command = [*_installer(python), "-r", REQUIREMENTS]
        try:
            done = subprocess.run(
                command, cwd=source, timeout=self._timeout, check=False, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DeployError(
                f"{REQUIREMENTS}: the install did not end within {self._timeout:g}s"
            ) from None
        if done.returncode != 0:
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            raise DeployError(f"{REQUIREMENTS}: {' | '.join(lines[-_SHOWN_LINES:])}")


def _asked_at(folder: Path) -> float:
    complete = folder / _COMPLETE
    return (complete if complete.exists() else folder).stat().st_mtime


def _size(folder: Path) -> int:
    blocks = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # an install under way removes files again
            blocks += path.lstat().st_blocks
    return blocks * _BLOCK


def asks(requirements: bytes) -> bool:
    """Return whether a file of requirements names any."""
    lines = requirements.decode("utf-8", "replace").splitlines()
    return any(line.split("#", 1)[0].strip() for line in lines)


def key(requirements: bytes, bundle: str) -> str:
    """Name of the environment of a bundle with this digest. Requirements may name files beside
    them, so then those count too.
    """
    own = bundle.encode() if b"/" in requirements or b"-" in requirements[:1] else b""
    parts = (requirements, own, sys.version.encode(), sys.prefix.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _site_packages() -> list[str]:
    return list(dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]))


def _installer(python: Path) -> list[str]:
    # Not importlib.util: setuptools hooks into that, and warns where distutils is in use.
    if PathFinder.find_spec("pip") is not None:
        return [
            sys.executable, "-m", "pip", "--python", str(python), "install", "--no-input",
            "--disable-pip-version-check", "--quiet",
        ]  # fmt: skip
    uv = shutil.which("uv")
    if uv is None:
        raise DeployError(f"{REQUIREMENTS}: neither pip nor uv is there to install it")
    return [uv, "pip", "install", "--python", str(python), "--quiet"]
