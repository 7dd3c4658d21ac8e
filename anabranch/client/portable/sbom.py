"""Software bills of materials of portable bundles: CycloneDX 1.6 in JSON. Pure.

https://cyclonedx.org/docs/1.6/json/. Without times, and with a serial number that follows from the
content, so that the same bundle has the same bill.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from anabranch.client.portable.bundle import BundleManifest
from anabranch.client.portable.formats import canonical
from anabranch.client.portable.locking import requirements
from anabranch.components.artefacts.uris import redacted

Json = dict[str, Any]
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*==\s*([^\s;]+)")
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)")
_HASH = re.compile(r"--hash=(sha256|sha384|sha512):([0-9a-f]+)")
_ALGORITHMS = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


def bill(manifest: BundleManifest, files: Mapping[str, str], lock: str) -> bytes:
    """Return the bill of a bundle: its files by digest, its models, and its Python packages.

    ``files`` are SHA-256 by path, ``lock`` is the text of ``requirements.txt``.
    """
    about: Json = {
        "type": "application",
        "bom-ref": "graph",
        "name": manifest.graph,
        "hashes": [_sha256(manifest.code)],
    }
    if manifest.version:
        about["version"] = manifest.version
    tool = {"type": "application", "name": "anabranch", "version": manifest.anabranch}
    components = _unique([*_models(manifest), *_packages(lock), *_files(files)])
    return canonical(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, manifest.code)}",
            "metadata": {
                "tools": {"components": [tool]},
                "component": about,
            },
            "components": components,
            "dependencies": [{"ref": "graph", "dependsOn": [one["bom-ref"] for one in components]}],
        }
    )


def _unique(components: list[Json]) -> list[Json]:
    """Return the components with one of each reference; a lock may name a package twice."""
    return list({one["bom-ref"]: one for one in components}.values())


def _models(manifest: BundleManifest) -> Iterator[Json]:
    for uri, one in sorted(manifest.artefacts.items()):
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"model:{redacted(uri)}",
            "name": one.name,
            "hashes": [_sha256(one.sha256)],
            "externalReferences": [{"type": "distribution", "url": quote(redacted(uri), "/:@%")}],
        }


def _packages(lock: str) -> Iterator[Json]:
    for line in requirements(lock):
        if (pinned := _PINNED.match(line)) is not None:
            name, version = pinned.groups()
            purl = f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{quote(version)}"
            yield {
                "type": "library", "bom-ref": purl, "name": name, "version": version,
                "purl": purl,
            } | _hashes(line)  # fmt: skip
        elif (named := _NAMED.match(line)) is not None:
            yield {"type": "library", "bom-ref": f"requirement:{line}", "name": named[1]}


def _hashes(line: str) -> Json:
    found = [{"alg": _ALGORITHMS[name], "content": text} for name, text in _HASH.findall(line)]
    return {"hashes": found} if found else {}


def _files(files: Mapping[str, str]) -> Iterator[Json]:
    for path, digest in sorted(files.items()):
        yield {"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": [_sha256(digest)]}


def _sha256(digest: str) -> Json:
    return {"alg": "SHA-256", "content": digest}
