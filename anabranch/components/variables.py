"""Environment variables of a node, plain ones and secrets.

They are set in the process that hosts the node, before the node is constructed, and nowhere else:
a spec, and all that is made of it, holds the sources of secrets and never their values.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_KUBERNETES_SECRETS | folder of mounted secrets | /var/run/secrets/anabranch |
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock

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
_before: dict[str, str | None] = {}
"""Variables that nodes have set, with the values that they had before; None where they had none.

A secret whose source is a variable is read from here: another node, or the node itself when it was
loaded the last time, may have set that variable.
"""
_holders: Counter[str] = Counter()
"""Variables that graphs of this process are to give up some time, and how many graphs."""
_changing = Lock()


def set_variables(node: NodeBase) -> None:
    """Set the variables of a node in the environment of this process, and mask its secrets.

    Raises CannotLoad for a secret that is not there, with its name and source.
    """
    secrets = {name: _read(name, source) for name, source in node.secrets.items()}
    for value in secrets.values():
        hide(value)
    own = {**node.env, **secrets}
    with _changing:
        for name in own.keys() - _before.keys():
            _before[name] = os.environ.get(name)
        os.environ.update(own)


def saved(nodes: Iterable[NodeBase]) -> Callable[[], None]:
    """Return a function that, called once, gives up all variables of ``nodes``.

    A variable that no other nodes hold has the value again that it had before any of them.
    """
    names = {name for node in nodes for name in (*node.env, *node.secrets)}
    with _changing:
        _holders.update(names)
    return lambda: _give_up(names)


def _give_up(names: Iterable[str]) -> None:
    with _changing:
        _holders.subtract(names)
        for name in names:
            if not _holders[name] and name in _before:
                _restore(name, _before.pop(name))


def _restore(name: str, value: str | None) -> None:
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
        with _changing:
            text = _before.get(source.env, os.environ.get(source.env))
        if text is None:
            raise ValueError(
                f"no environment variable {source.env} where the node runs; a process of the "
                "engine has the variables that `anabranch up` was started with"
            )
        return os.fsencode(text)
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
