"""Credentials for registries, as Docker keeps them: in ``config.json``, or with a helper.

https://docs.docker.com/reference/cli/docker/login/#credential-stores
"""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from anabranch.errors import InvalidRequest

_PATIENCE_S = 30.0
_NAMES: Mapping[str, str] = {"docker.io": "https://index.docker.io/v1/"}
"""Names under which Docker keeps credentials of hosts, where they are others."""


class RegistryLogin(NamedTuple):
    """A user with a password, or with a token that stands for one."""

    user: str
    password: str


def login_of(host: str, environment: Mapping[str, str] = os.environ) -> RegistryLogin | None:
    """Return the login for a registry, None where there is none.

    InvalidRequest for a file that is not as Docker writes it, or a helper that fails.
    """
    folder = Path(environment.get("DOCKER_CONFIG") or Path.home() / ".docker")
    config = _read(folder / "config.json")
    name = _NAMES.get(host, host)
    helper = config.get("credHelpers", {}).get(host) or config.get("credsStore")
    try:
        entry = config.get("auths", {}).get(name, {})
        if entry.get("auth"):
            user, _, password = b64decode(entry["auth"], validate=True).decode().partition(":")
            return RegistryLogin(user, password)
    except (AttributeError, TypeError, ValueError):
        raise _malformed(folder / "config.json") from None
    return _helped(str(helper), name) if helper else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise _malformed(path) from None
    if not isinstance(found, dict):
        raise _malformed(path)
    return found


def _malformed(path: Path) -> InvalidRequest:
    return InvalidRequest(f"{path} does not hold logins as `docker login` writes them")


def _helped(helper: str, name: str) -> RegistryLogin | None:
    """Ask a credential helper; one that knows nothing of the registry is no mistake."""
    command = [f"docker-credential-{helper}", "get"]
    try:
        done = subprocess.run(
            command, input=name, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
        if done.returncode != 0 and "not found" in done.stdout:
            return None
        found = json.loads(done.stdout)
        return RegistryLogin(str(found["Username"]), str(found["Secret"]))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        raise InvalidRequest(
            f"{command[0]}, which Docker's config.json names, gives no login for {name}"
        ) from None
