"""Models at URIs: their digests, and the credentials of their stores."""

from __future__ import annotations

from pathlib import Path

from anabranch.components.artefacts import uris
from anabranch.components.artefacts.digests import path_digest
from anabranch.errors import ArtefactError
from anabranch.importers.fields import Fields
from anabranch.specs.excerpts import shown
from anabranch.specs.models import MAX_REFERENCE

UNKNOWN_DIGEST = "0" * 64
"""Stands for a digest that nobody has computed."""
CREDENTIALS = {
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL)",
    "az": "AZURE_STORAGE_CONNECTION_STRING",
    "abfs": "AZURE_STORAGE_CONNECTION_STRING",
    "abfss": "AZURE_STORAGE_CONNECTION_STRING",
    "hf": "HF_TOKEN",
}
"""Variables with the credentials of each scheme of stores."""
FETCHED = (*CREDENTIALS, "http", "https")
"""Schemes that the engine fetches models from."""


def check_model(fields: Fields, key: str, model: str) -> None:
    """Keep the mistake of a place whose ``model`` no graph can have."""
    if len(model) > MAX_REFERENCE:
        fields.mistake(f"is over the limit of {MAX_REFERENCE} characters", key)
    elif (wrong := uris.problem(model)) is not None:
        fields.mistake(f"means the model {shown(uris.redacted(model))}: {wrong}", key)


def digest(fields: Fields, key: str, model: str) -> str:
    """Return the digest of a model on this machine; else zeros, and note how to get it."""
    path = Path(model.removeprefix("file://")) if model.startswith("file://") else None
    try:
        if path is not None and path.exists():
            return path_digest(path)
    except (OSError, ValueError, ArtefactError):
        pass
    said = "loading it can run code, so `sha256` must hold its digest, here 64 zeros"
    fields.to_do(f"{said}: `anabranch validate --load graph.yaml` names the one that came", key)
    return UNKNOWN_DIGEST


def credentials_of(model: str) -> str | None:
    """Return the variables with the credentials for a model; None where it needs none."""
    return CREDENTIALS.get(uris.scheme(model)) if uris.is_uri(model) else None
