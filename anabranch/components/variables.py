"""Environment variables of a node, plain ones and secrets.

They are set in the process that hosts the node, before the node is constructed, and nowhere else:
a spec, and all that is made of it, holds the sources of secrets and never their values.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_KUBERNETES_SECRETS | folder of mounted secrets | /var/run/secrets/anabranch |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from anabranch.components.contract import CannotLoad
from anabranch.environment import Environment
from anabranch.masking import hide
from anabranch.specs.models import KubernetesSecret, NodeBase, Secret
from anabranch.specs.units import Size

KUBERNETES = "ANABRANCH_KUBERNETES_SECRETS"
"""The variable that names the folder below which Kubernetes mounts secrets."""
MOUNTED = Path("/var/run/secrets/anabranch")
"""That folder where the variable does not say; a secret's keys are files in ``<folder>/<name>``."""
MAX_BYTES = 64 * 2**10
"""Longest secret, in bytes."""


def set_variables(node: NodeBase) -> None:
    """Set the variables of a node in the environment of this process, and mask its secrets.

    Raises CannotLoad for a secret that is not there, with its name and source.
    """
    secrets = {name: _read(name, source) for name, source in node.secrets.items()}
    for value in secrets.values():
        hide(value)
    os.environ.update({**node.env, **secrets})


def saved(nodes: Iterable[NodeBase]) -> Callable[[], None]:
    """Return a function that sets all variables of ``nodes`` back to the values they have now."""
    names = {name for node in nodes for name in (*node.env, *node.secrets)}
    before = {name: os.environ.get(name) for name in names}
    return lambda: _restore(before)


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _read(name: str, source: Secret) -> str:
    try:
        return _text(_bytes(source))
    except ValueError as error:
        raise CannotLoad(f"secret {name}: {error}") from None


def _bytes(source: Secret) -> bytes:
    if source.env is not None:
        value = os.environb.get(source.env.encode())
        if value is None:
            raise ValueError(
                f"no environment variable {source.env} where the node runs; a process of the "
                "engine has the variables that `anabranch up` was started with"
            )
        return value
    if source.kubernetes is not None:
        return _mounted(source.kubernetes)
    assert source.file is not None
    return _file(Path(source.file))


def _mounted(secret: KubernetesSecret) -> bytes:
    root = Environment(os.environ).read(KUBERNETES, Path, MOUNTED)
    try:
        return _file(root / secret.name / secret.key)
    except ValueError as error:
        raise ValueError(
            f"key {secret.key} of the Kubernetes secret {secret.name}: {error}; mount the secret "
            f"at {root / secret.name}, or name another folder in {KUBERNETES}"
        ) from None


def _file(path: Path) -> bytes:
    """Return the content of a file, without the end of its last line."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 2)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _text(content: bytes) -> str:
    """Return a secret as text; ValueError, without the value, for what no variable can hold."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"has more than {Size(MAX_BYTES)}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8") from None
    if "\0" in text:
        raise ValueError("has a NUL, which no environment variable can hold")
    return text
