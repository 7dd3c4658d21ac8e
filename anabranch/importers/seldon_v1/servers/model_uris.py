"""Model URIs: the file that a Seldon server loads from a folder, and its digest."""

from __future__ import annotations

import re
from typing import Any

from anabranch.importers.artefacts import CREDENTIALS, FETCHED, check_model, digest
from anabranch.importers.fields import Fields

_REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9_-]*):(//)?(.*)", re.DOTALL)
_RUNS_CODE = (".joblib", ".pkl")
"""Suffixes of model files whose loading can run code, as that of MLflow's folders can."""


def model_fields(unit: Fields, file: str, key: str = "modelUri") -> dict[str, Any]:
    """Return ``model``, and ``sha256`` where it is needed, for the URI in the field ``key``.

    ``file`` is what the server loads in the folder of the URI; empty for the folder itself.
    """
    uri = unit.text(key).strip()
    if not uri:
        if unit.has(key):
            unit.mistake("is blank", key)
        return {}
    model = _uri(unit, uri, key).rstrip("/") + (f"/{file}" if file else "")
    check_model(unit, key, model)
    _credentials(unit, uri)
    what = f"`{model}`: the file that the server loads" if file else f"`{model}`"
    unit.same(what, key)
    runs_code = not file or file.endswith(_RUNS_CODE)
    return {"model": model} | ({"sha256": digest(unit, key, model)} if runs_code else {})


def _uri(unit: Fields, uri: str, key: str) -> str:
    """Return the URI in our words; note what the user must do where there is none."""
    matched = _REMOTE.fullmatch(uri)
    if matched is None:
        return f"file://{uri}" if uri.startswith("/") else uri
    scheme, slashes, rest = matched[1].lower(), matched[2], matched[3]
    if scheme == "file":
        return f"file://{rest}" if slashes else f"file://{rest.removeprefix('//')}"
    if scheme == "pvc":
        place = f"file:///mnt/pvc/{rest.strip('/')}"
        unit.to_do(f"mount the volume claim where the engine runs, so that `{place}` is there", key)
        return place
    if scheme in FETCHED:
        return f"{scheme}://{rest.lstrip('/')}"
    said = f"`{scheme}:` is a remote of rclone's configuration; `s3://` is put in its place"
    unit.to_do(f"{said}: write the URI of the store that it stands for", key)
    return f"s3://{rest.lstrip('/')}"


def _credentials(unit: Fields, uri: str) -> None:
    scheme = uri.partition(":")[0].lower()
    variables = CREDENTIALS.get(scheme) or "the credentials that the store wants"
    for key in ("serviceAccountName", "envSecretRefName"):
        name = unit.text(key)
        if name:
            unit.to_do(f"set {variables} in the environment of `anabranch up`", key)
    unit.leave_out({"storageInitializerImage": "the engine fetches models itself"})
