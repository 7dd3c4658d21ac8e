"""Model files by URI: what a reference may be, the name that its file gets, and how it is shown.

``#`` ends the reference; what follows is a path inside the folder or archive that it names. A name
is taken from the reference alone, and the file in the cache is called just that: what a format is
thought to be by its suffix, before the download, is what it is after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from anabranch.specs.shared.reference import is_shared

SCHEMES: dict[str, str] = {
    "file": "",
    "http": "",
    "https": "",
    "s3": "s3",
    "gs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "hf": "hf",
    "models": "",
    "runs": "",
    "mlflow-artifacts": "",
}
"""Scheme: the extra of anabranch that brings what reads it, empty where nothing more is needed."""
MLFLOW = frozenset({"models", "runs", "mlflow-artifacts"})
"""Schemes that the MLflow tracking server resolves."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Suffixes of files that are unpacked."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/.*", re.DOTALL)
STAGES = ("production", "staging", "archived", "none", "latest")
"""Words of MLflow's for the newest version in a stage, and in any, in any case of letters."""
_MOVABLE = re.compile(rf"models:/{{1,3}}[^/@#]{{1,255}}(@[^/@#]{{1,255}}|/(?i:{'|'.join(STAGES)}))")
_FIXED = re.compile(r"models:/{1,3}([^/@#]{1,255}/[0-9]{1,18}|m-[0-9a-f]{16,64})")
_RUN = re.compile(r"runs:/{1,3}[^/@#]{1,64}(/[^/#]+)+/?")
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?'\"<>]*)\?[^\s'\"<>]*", re.IGNORECASE)
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#@'\"]*@", re.IGNORECASE)
_LONGEST_NAME = 200


def is_uri(model: str) -> bool:
    """Tell whether a model is given by URI, such as ``s3://bucket/key``, not by path."""
    return _URI.fullmatch(model) is not None


def is_mlflow(model: str) -> bool:
    """Tell whether the MLflow tracking server says where the model is."""
    return is_uri(model) and scheme(model) in MLFLOW


def is_movable(model: str) -> bool:
    """Tell whether a reference to MLflow's registry may mean another version tomorrow.

    That is an alias, a stage, or ``latest``.
    """
    return _MOVABLE.fullmatch(split(model)[0]) is not None


def scheme(uri: str) -> str:
    """Return the scheme of a URI in lower case."""
    return uri.partition(":")[0].lower()


def split(uri: str) -> tuple[str, str]:
    """Return a URI without its fragment, and the path inside that the fragment is; else empty."""
    place, _, inner = uri.partition("#")
    return place, inner


def filename(uri: str) -> str:
    """Return the name of the file that a URI means, without query and escapes, never empty."""
    place = split(uri)[0]
    path = urlsplit(place).path if _is_split(place) else place
    name = unquote(path).rstrip("/").rpartition("/")[2]
    clean = re.sub(r"[\x00-\x1f\x7f\\:]", "_", name)[-_LONGEST_NAME:]
    return "model" if clean in ("", ".", "..") else clean


def suffix(model: str) -> str:
    """Return the suffix of a path or URI in lower case, such as ``.skops``."""
    name = (split(model)[1] or filename(model)) if is_uri(model) else model
    return PurePosixPath(name).suffix.lower()


def is_archive(name: str) -> bool:
    """Tell whether a file of that name is unpacked."""
    return name.lower().endswith(ARCHIVES)


def redacted(text: str) -> str:
    """Return text, or a URI, without the secrets that URIs in it may carry: users and queries."""
    return _QUERY.sub(r"\1?…", _USER.sub(r"\1", text))


def is_inner(path: str) -> bool:
    """Tell whether a path stays inside the folder that it starts from."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts)


def unwatchable(model: str) -> str | None:
    """Return why a reference cannot be watched, since it always means the same; None if it can."""
    if not is_uri(model):
        return "a path belongs to the bundle, and changes with the next deploy"
    if is_movable(model) or not is_mlflow(model):
        return None
    fixed = {"models": "a fixed version", "runs": "an artefact of a run"}
    what = fixed.get(scheme(model), "a fixed artefact")
    return f"{redacted(model)} is {what}; name an alias, such as models:/name@champion"


def problem(model: str) -> str | None:
    """Return what is wrong with a reference, as far as its text tells; None if nothing is."""
    if not is_uri(model) or is_shared(model):  # what a shared model may be is checked with specs
        return None
    place, inner = split(model)
    if scheme(model) not in SCHEMES:
        known = ", ".join(SCHEMES)
        return f"the scheme {scheme(model)!r} is not known (available: {known}, and paths)"
    if "#" in model and not is_inner(inner):
        return "the part behind # must be a path inside the archive, such as #model/model.onnx"
    if "\0" in model or "\n" in model:
        return "a URI has no control characters"
    if not _is_split(place):
        return "square brackets in a host hold an IPv6 address"
    return _CHECKS.get(scheme(model), _check_place)(place)


def _is_split(place: str) -> bool:
    """Tell whether the parts of a URI can be told apart."""
    try:
        urlsplit(place)
    except ValueError:
        return False
    return True


def _check_file(place: str) -> str | None:
    parts = urlsplit(place)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        return "write file:///absolute/path"
    return None


def _check_place(place: str) -> str | None:
    parts = urlsplit(place)
    if "@" in parts.netloc and parts.scheme not in ("abfs", "abfss"):
        return "a URI holds no user or password; they come from the environment of the engine"
    if not parts.netloc:
        return f"write {parts.scheme}://host-or-bucket/path"
    return None


def _check_hub(place: str) -> str | None:
    # A revision stands after an @, where other schemes have a user.
    return None if urlsplit(place).netloc else "write hf://owner/repository/path"


def _check_models(place: str) -> str | None:
    if _MOVABLE.fullmatch(place) or _FIXED.fullmatch(place):
        return None
    return (
        "write models:/name@alias, models:/name/version, models:/name/Production (or another "
        "stage, or latest), or models:/m-… for a logged model"
    )


def _check_run(place: str) -> str | None:
    return None if _RUN.fullmatch(place) else "write runs:/run-id/path"


def _check_proxied(place: str) -> str | None:
    parts = urlsplit(place)
    if parts.netloc or not is_inner(parts.path.strip("/")):
        return "write mlflow-artifacts:/path, which the tracking server of the engine serves"
    return None


_CHECKS: dict[str, Callable[[str], str | None]] = {
    "file": _check_file,
    "hf": _check_hub,
    "models": _check_models,
    "runs": _check_run,
    "mlflow-artifacts": _check_proxied,
}
