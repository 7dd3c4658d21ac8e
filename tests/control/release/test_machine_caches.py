from __future__ import annotations

import math
import os
import time
from functools import partial
from pathlib import Path

import pytest

from anabranch.client.bundle.packing import digest
from anabranch.components.artefacts import cache
from anabranch.components.artefacts.fetching import fetched_bundle
from anabranch.components.artefacts.kept import bundle_store
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.control.release.bundles import BundleStore
from anabranch.control.release.environments import key
from anabranch.control.release.machine_caches import Needed, tidy_up
from tests.disks import names

REQUIREMENTS = b"six\n"


def test_a_machine_keeps_what_is_needed_and_what_it_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    url, settings = (tmp_path / "store").as_uri(), ArtefactSettings.from_env()
    store = BundleStore(tmp_path / "bundles", url)
    bundles = [{"graph.yaml": text.encode()} for text in ("kept", "gone", "used")]
    kept, gone, used = (store.put(files) for files in bundles)
    folders = {}
    for name in (kept, gone, used):
        while name == used and cache._leases:  # as if the processes with the others had ended
            os.close(cache._leases.popitem()[1])
        folders[name] = fetched_bundle(
            name, partial(bundle_store.source, url, f"{name}.zip"), settings
        )
    environments = tmp_path / "home" / "environments"
    running = key(REQUIREMENTS, kept)
    for environment in (running, "old", "new"):
        (environments / environment).mkdir(parents=True)
    for environment in (running, "old"):
        os.utime(environments / environment, (0, 0))
    now = time.time()
    tidy_up(Needed(frozenset({kept}), {kept: REQUIREMENTS}, now - 3600, math.inf, now))
    assert {name: path.exists() for name, path in folders.items()} == {
        kept: True, gone: False, used: True,
    }  # fmt: skip
    assert names(environments) == sorted(("new", running))
    assert kept == digest(bundles[0])
