"""What must be alike on an engine's machine and on the Ray that it is attached to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from anabranch.errors import EngineError

OLDEST = (2, 60)
"""The oldest version of Ray on which an engine runs."""


class Machine(NamedTuple):
    """A node of Ray: its name and address, and what a task saw there.

    ``anabranch`` is the version that is installed, empty for none; ``user`` the number of the user;
    ``sees_home`` whether the folder of the engine's home is there.
    """

    name: str
    address: str
    anabranch: str
    python: str
    user: int
    sees_home: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


def require_same_ray(cluster: Mapping[str, Any], own: Mapping[str, str]) -> None:
    """Raise EngineError unless a Ray has the versions of Ray and Python that this machine has.

    ``cluster`` is what the GCS says of itself. Both exchange objects as pickles.
    """
    theirs = {name: str(cluster.get(f"{name}_version", "unknown")) for name in ("ray", "python")}
    numbers = theirs["ray"].split(".")[:2]
    if all(map(str.isdigit, numbers)) and tuple(map(int, numbers)) < OLDEST:
        raise EngineError(
            f"that Ray has version {theirs['ray']}, and an engine needs"
            f" {'.'.join(map(str, OLDEST))} or newer"
        )
    differ = [f"{n} {theirs[n]}, and here is {n} {own[n]}" for n in theirs if theirs[n] != own[n]]
    if differ:
        raise EngineError(
            f"that Ray has {'; '.join(differ)}: both must have the same versions, so use an"
            " environment with those of that Ray here"
        )


def require_same_anabranch(machines: Iterable[Machine], own: str) -> None:
    """Raise EngineError, naming all machines of Ray that have no anabranch of version ``own``."""
    differ = [
        f"{one} has {f'version {one.anabranch}' if one.anabranch else 'none'}"
        for one in machines
        if one.anabranch != own
    ]
    if differ:
        raise EngineError(
            f"all machines of that Ray need anabranch {own}, and {', '.join(differ)}: install it"
            " into the Python environment or the image with which Ray is started there"
        )


def require_own(machine: Machine, user: int, home: str) -> None:
    """Raise EngineError unless Ray's processes on this machine can use the engine's home."""
    if machine.user != user:
        raise EngineError(
            f"Ray runs on this machine as user {machine.user}, who cannot read the home {home} of"
            f" user {user}: type `anabranch up` as the user of Ray"
        )
    if not machine.sees_home:
        raise EngineError(
            f"Ray on this machine does not see the folder {home}: type `anabranch up` where Ray"
            " runs, such as in its container"
        )


def other_interpreters(machines: Iterable[Machine], python: str) -> tuple[str, ...]:
    """Return a warning about machines whose Ray runs another interpreter than ``python``."""
    found = [str(one) for one in machines if one.python != python]
    if not found:
        return ()
    return (
        f"Ray runs another interpreter than {python} on {', '.join(found)}: there bundles with a"
        " requirements.txt cannot run",
    )
