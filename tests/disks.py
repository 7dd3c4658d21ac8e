"""Small disks to fill, for tests that may mount one; the others skip, with the reason."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes in ``folder``, which is made."""
    folder.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def fill(folder: Path) -> Path:
    """Take all that is free in ``folder``; the file to remove when there is to be space again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return ballast


def read_only(folder: Path) -> None:
    """Let nobody write to a small disk any more."""
    _run("mount", "-o", "remount,ro", str(folder))


@contextmanager
def sick_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes in ``folder`` that can freeze and break while in use."""
    folder.mkdir(parents=True)
    image = folder.with_name(f"{folder.name}.img")
    with image.open("wb") as file:
        file.truncate(size)
    _run("mkfs.ext4", "-q", str(image))
    _run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def frozen(folder: Path, most: float = 120) -> Iterator[None]:
    """Let whoever writes to a sick disk wait, for ``most`` seconds even if this process dies.

    Not even a signal ends the wait. What was read before can still be read.
    """
    # It thaws at the end of its input, which this process' end is too.
    thaws = f"PATH=$PATH:/usr/sbin:/sbin; read line; fsfreeze -u '{folder}'"
    thaw = subprocess.Popen(["sh", "-c", thaws], stdin=subprocess.PIPE)
    ends = threading.Timer(most, thaw.communicate)
    _run("fsfreeze", "-f", str(folder))
    ends.start()
    try:
        yield
    finally:
        ends.cancel()
        thaw.communicate()


def broken(folder: Path) -> None:
    """Let a sick disk take nothing any more, as ext4 does after an error of the device."""
    _run("mount", "-o", "remount,abort", str(folder))


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"user {os.getuid()} cannot mount a small disk here: {done.stderr.strip()}")


def names(folder: Path) -> list[str]:
    """The names of all that is in a folder."""
    return sorted(path.name for path in folder.iterdir())
