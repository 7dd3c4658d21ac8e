"""What each machine of a cluster keeps for its replicas: bundles, unpacked, and environments."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from anabranch.components.artefacts.cache import Cache
from anabranch.components.artefacts.fetching import BUNDLE_PREFIX, bundle_key
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.control.release.environments import Environments, key
from anabranch.environment import Environment

logger = logging.getLogger("anabranch.control")


@dataclass(frozen=True)
class Needed:
    """What machines are to keep. ``before`` and ``spared`` are Unix times, ``most`` are bytes."""

    bundles: frozenset[str]
    """Digests of all bundles that the engine has."""
    running: Mapping[str, bytes]
    """Requirements of the bundles that run, by their digest."""
    before: float
    most: float
    spared: float

    def environments(self) -> set[str]:
        """Return the names of the environments of what runs, on this machine."""
        return {key(requirements, digest) for digest, requirements in self.running.items()}


def tidy_up(needed: Needed) -> None:
    """Remove from this machine what is not needed, and not in use; see ``Environments.collect``."""
    settings = ArtefactSettings.from_env()
    kept = {bundle_key(digest) for digest in needed.bundles}
    bundles = Cache(settings.cache, settings.cache_size).drop(BUNDLE_PREFIX, kept)
    environments = Environments(Environment(os.environ).home / "environments", 0.0).collect(
        needed.environments(), needed.before, needed.most, needed.spared
    )
    if bundles or environments:
        logger.info("removed %d bundles and %d environments here", bundles, environments)
