"""Model files: where they are, and that they are the ones the spec means.

A path belongs to the bundle and is as trusted as its code. A URI does not: a format that can run
code needs its digest in the spec.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from anabranch.components.contract import CannotLoad
from anabranch.components.loading import explain, inside
from anabranch.errors import ArtefactError
from anabranch.specs.models import Predictor

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/.*", re.DOTALL)


def is_uri(model: str) -> bool:
    """Tell whether a model is given by URI, such as ``s3://bucket/key``, not by path."""
    return _URI.fullmatch(model) is not None


def suffix(model: str) -> str:
    """Return the suffix of a path or URI in lower case, such as ``.skops``."""
    path = urlsplit(model).path if is_uri(model) else model
    return Path(path).suffix.lower()


def model_path(node: Predictor, root: Path) -> Path:
    """Return the local path of the node's model, its digest verified.

    Raises:
        ArtefactError: no model is named, there is no such file, it leads out of the bundle, its
            digest differs, or its kind of URI is not supported.
    """
    if node.model is None:
        raise ArtefactError("the field 'model' is missing")
    path = _from_uri(node.model) if is_uri(node.model) else _from_bundle(node.model, root)
    if node.sha256 is not None:
        _verify(node.model, path, node.sha256)
    return path


def _from_bundle(model: str, root: Path) -> Path:
    try:
        return inside(model, root)
    except CannotLoad as error:
        raise ArtefactError(f"model: {error}") from None


def _from_uri(model: str) -> Path:
    parts = urlsplit(model)
    if parts.scheme != "file":
        raise ArtefactError(
            f"model {model!r}: URIs of {parts.scheme}: are not supported yet "
            "(available: file:// and paths relative to the spec)"
        )
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ArtefactError(f"model {model!r}: write file:///absolute/path")
    path = Path(unquote(parts.path))
    if not path.is_file():
        raise ArtefactError(f"model {model!r}: there is no such file")
    return path


def _verify(model: str, path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ArtefactError(f"model {model!r}: its sha256 is {found}, the spec says {expected}")


@contextmanager
def reading(node: Predictor, root: Path) -> Iterator[None]:
    """Turn whatever a library raises on a model file into a CannotLoad that names the file."""
    try:
        yield
    except (CannotLoad, ArtefactError):
        raise
    except Exception as error:
        raise CannotLoad(f"cannot load {node.model}: {explain(error, root)}") from None
