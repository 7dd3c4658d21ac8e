"""What is said in the environment about model files that come by URI.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_CACHE | folder for what was downloaded, on each machine | `artefacts` in the home |
| ANABRANCH_CACHE_SIZE | how much it keeps, such as 20GiB | 20GiB |
| ANABRANCH_MAX_ARTEFACT | largest model, as it comes and unpacked | 20GiB |
| ANABRANCH_DOWNLOAD_TIMEOUT | most seconds for one model | 3600 |
| MLFLOW_TRACKING_URI | the tracking server that models:/ and runs:/ mean | none |
| ANABRANCH_MLFLOW_TRUSTED | tracking servers whose models may run code, by comma | none |
| ANABRANCH_PINS | set by the engine: JSON of movable reference: fixed one | {} |
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from anabranch.errors import ArtefactError
from anabranch.specs.units import Size

PINS = "ANABRANCH_PINS"


@dataclass(frozen=True)
class ArtefactSettings:
    """Sizes in bytes, times in seconds; URLs without a slash at the end."""

    cache: Path
    cache_size: int = 20 * 2**30
    max_size: int = 20 * 2**30
    timeout: float = 3600.0
    tracking: str = ""
    trusted: tuple[str, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read ``env``; ArtefactError names a variable that is not what it must be."""
        home = Path(env.get("ANABRANCH_HOME") or Path.home() / ".anabranch")
        return cls(
            cache=Path(env.get("ANABRANCH_CACHE") or home / "artefacts").absolute(),
            cache_size=_size(env, "ANABRANCH_CACHE_SIZE", cls.cache_size),
            max_size=_size(env, "ANABRANCH_MAX_ARTEFACT", cls.max_size),
            timeout=_seconds(env, "ANABRANCH_DOWNLOAD_TIMEOUT", cls.timeout),
            tracking=env.get("MLFLOW_TRACKING_URI", "").strip().rstrip("/"),
            trusted=_list(env.get("ANABRANCH_MLFLOW_TRUSTED", "")),
            pins=json.loads(env.get(PINS) or "{}"),
        )

    @property
    def trusts_tracking(self) -> bool:
        """Whether models from the tracking server may run code when they are loaded."""
        return bool(self.tracking) and self.tracking in self.trusted

    def pinned(self, model: str) -> str:
        """Return what a movable reference was when it was deployed; others as they are."""
        return self.pins.get(model, model)


def _size(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name)
    if not text:
        return default
    try:
        return int(Size.parse(text))
    except ValueError as error:
        raise ArtefactError(f"{name}: {error}") from None


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    try:
        value = float(text) if text else default
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArtefactError(f"{name}={text!r} is not a number of seconds above 0")
    return value


def _list(text: str) -> tuple[str, ...]:
    return tuple(url for part in text.split(",") if (url := part.strip().rstrip("/")))
