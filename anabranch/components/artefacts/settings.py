"""Settings of model files that come by URI, read from the environment.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_CACHE | folder for what was downloaded, on each machine | `artefacts` in the home |
| ANABRANCH_CACHE_SIZE | size of what it keeps | 20GiB |
| ANABRANCH_MAX_ARTEFACT | largest model, as it comes and unpacked | 20GiB |
| ANABRANCH_DOWNLOAD_TIMEOUT | longest time for one model | 1h |
| MLFLOW_TRACKING_URI | the tracking server that models:/ and runs:/ mean | none |
| MLFLOW_TRACKING_TOKEN | token that the tracking server asks for | none |
| MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD | user that it asks for instead | none |
| ANABRANCH_MLFLOW_TRUSTED | tracking servers whose models may run code, by comma | none |
| ANABRANCH_UNTRUSTED_ARTEFACTS | models that may run code: `refuse`, or by `sha256` | `sha256` |
| ANABRANCH_PINS | set by the engine: JSON of reference: pin, see ``pins`` | {} |
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from anabranch.environment import Environment, listed
from anabranch.errors import ArtefactError
from anabranch.specs.units import read_bytes, read_seconds

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
    refuses_code: bool = False
    pins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read ``env``; ArtefactError names a variable that is not what it must be."""
        variables = Environment(env, ArtefactError)
        return cls(
            cache=variables.read("ANABRANCH_CACHE", Path, variables.home / "artefacts").absolute(),
            cache_size=int(read_bytes(variables, "ANABRANCH_CACHE_SIZE", cls.cache_size)),
            max_size=int(read_bytes(variables, "ANABRANCH_MAX_ARTEFACT", cls.max_size)),
            timeout=read_seconds(variables, "ANABRANCH_DOWNLOAD_TIMEOUT", cls.timeout, "1us"),
            tracking=variables.text("MLFLOW_TRACKING_URI").strip().rstrip("/"),
            trusted=_servers(variables.text("ANABRANCH_MLFLOW_TRUSTED")),
            refuses_code=variables.read(
                "ANABRANCH_UNTRUSTED_ARTEFACTS",
                lambda text: ("sha256", "refuse").index(text) == 1,
                cls.refuses_code,
                "`sha256` or `refuse`",
            ),
            pins=json.loads(variables.text(PINS, "{}")),
        )

    @property
    def trusts_tracking(self) -> bool:
        """Whether models from the tracking server may run code when they are loaded."""
        return bool(self.tracking) and self.tracking in self.trusted


def _servers(text: str) -> tuple[str, ...]:
    return tuple(one for url in listed(text) if (one := url.rstrip("/")))
