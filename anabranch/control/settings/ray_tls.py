"""TLS of Ray's own processes, read from the environment, by Ray's variables.

| variable | meaning | default |
|---|---|---|
| RAY_USE_TLS | 1: Ray's processes speak TLS over gRPC, and show each other certificates | 0 |
| RAY_TLS_SERVER_CERT | certificate of the machine, for its address and 127.0.0.1, in PEM | needed |
| RAY_TLS_SERVER_KEY | its key, in PEM | needed |
| RAY_TLS_CA_CERT | the authority that has signed those of all machines, in PEM | needed |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from anabranch.errors import EngineError

USE = "RAY_USE_TLS"
CERT, KEY, AUTHORITY = RAY_TLS_FILES = (
    "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT",
)  # fmt: skip
_ON = ("1", "true")


class RayTls(NamedTuple):
    """The certificates of a machine, in PEM."""

    cert: bytes
    key: bytes
    authority: bytes

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> RayTls | None:
        """Read the files that ``env`` names; None where Ray speaks no TLS.

        EngineError names a variable that is missing, or a file that cannot be read.
        """
        if env.get(USE, "").lower() not in _ON:
            return None
        return cls(*(_content(name, env) for name in (CERT, KEY, AUTHORITY)))


def _content(name: str, env: Mapping[str, str]) -> bytes:
    path = Path(env.get(name, ""))
    if not path.is_absolute():  # Ray's processes have other working folders
        raise EngineError(f"{USE} needs {name}, the absolute path of a file in PEM")
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise EngineError(f"{name}: cannot read {str(path)!r}: {reason}") from None
