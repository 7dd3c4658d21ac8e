"""Versions of registered models: the one that a reference means, its notes, and its tags.

Aliases, stages and ``latest`` are those of MLflow's model URIs; stages are deprecated there since
2.9, and still served (https://mlflow.org/docs/latest/ml/model-registry).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from anabranch.components.artefacts.mlflow.server import TrackingServer, understood
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.errors import ArtefactError

ALIAS = re.compile(r"models:/{1,3}([^/@]+)@([^/@]+)")
VERSION = re.compile(r"models:/{1,3}([^/@]+)/([0-9]+)")
_STAGE = re.compile(r"models:/{1,3}([^/@]+)/([A-Za-z]+)")
_LATEST = "latest"


@dataclass(frozen=True)
class ModelVersion:
    """The notes on a version of a registered model that people keep in MLflow."""

    name: str
    number: int
    description: str
    tags: Mapping[str, str]


def resolve(reference: str, settings: ArtefactSettings) -> str:
    """Return the version that a movable reference means now, such as ``models:/m/3``.

    ArtefactError where the server says no, TransferInterrupted where it does not answer.
    """
    if match := ALIAS.fullmatch(reference):
        return _of_alias(TrackingServer(settings), *match.groups())
    if match := _STAGE.fullmatch(reference):
        return _of_stage(TrackingServer(settings), *match.groups())
    return reference


def described(version: str, settings: ArtefactSettings) -> ModelVersion | None:
    """Return the notes on a fixed version such as ``models:/m/3``; None for another reference.

    Raises what ``resolve`` does.
    """
    match = VERSION.fullmatch(version)
    if match is None:
        return None
    name, number = match.groups()
    with understood():
        query = {"name": name, "version": number}
        found = TrackingServer(settings).get("model-versions/get", **query)["model_version"]
        tags = {one["key"]: one.get("value", "") for one in found.get("tags", ())}
        return ModelVersion(name, int(number), found.get("description", ""), tags)


def set_tag(version: str, key: str, value: str, settings: ArtefactSettings) -> None:
    """Set a tag of a fixed version such as ``models:/m/3``; raises what ``resolve`` does."""
    match = VERSION.fullmatch(version)
    if match is None:
        raise ArtefactError(f"{version!r} is no version such as models:/name/3")
    named = {"name": match[1], "version": match[2]}
    TrackingServer(settings).post("model-versions/set-tag", **named, key=key, value=value)


def _of_alias(server: TrackingServer, name: str, alias: str) -> str:
    with understood():
        found = server.get("registered-models/alias", name=name, alias=alias)
        return f"models:/{name}/{int(found['model_version']['version'])}"


def _of_stage(server: TrackingServer, name: str, stage: str) -> str:
    """Return the newest version in a stage, or in any stage for ``latest``."""
    query = {} if stage.lower() == _LATEST else {"stages": [stage]}
    with understood():
        found = server.get("registered-models/get-latest-versions", name=name, **query)
        numbers = [int(one["version"]) for one in found.get("model_versions", ())]
    if not numbers:
        where = f" in the stage {stage}" if query else ""
        raise ArtefactError(f"the registered model {name!r} has no version{where}")
    return f"models:/{name}/{max(numbers)}"
