"""Provenance of portable bundles: who has built one, when, and from which commit.

It is a statement of in-toto (https://in-toto.io/Statement/v1) with the predicate of SLSA
(https://slsa.dev/spec/v1.0/provenance). A bundle does not hold its provenance, which refers to it:
so the same content has the same digest, whoever builds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anabranch.client.bundle.author import author_of, git
from anabranch.client.portable.bundle import BundleManifest
from anabranch.client.portable.formats import ImageManifest, canonical
from anabranch.components.artefacts.uris import redacted
from anabranch.errors import InvalidRequest

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "urn:anabranch:build:v1"
EPOCH = "SOURCE_DATE_EPOCH"
"""Variable with the time of a build, a Unix time; https://reproducible-builds.org/specs/."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Commit:
    """The commit that a folder has in git; empty texts where there is none."""

    sha: str = ""
    remote: str = ""
    is_dirty: bool = False
    """Whether the folder has changes that are in no commit."""


@dataclass(frozen=True)
class Build:
    """Who has built a bundle, when (ISO 8601), and of which commit."""

    author: str
    at: str
    commit: Commit = Commit()

    @property
    def text(self) -> str:
        """The build in words."""
        commit = f", commit {self.commit.sha[:12]}" if self.commit.sha else ", of no commit"
        changed = " with changes since" if self.commit.is_dirty else ""
        return f"by {self.author or 'somebody'} at {self.at}{commit}{changed}"


def build_here(folder: Path, environment: Mapping[str, str] = os.environ) -> Build:
    """Return the build that this process makes of a folder now, or at SOURCE_DATE_EPOCH."""
    return Build(author_of(folder), _time(environment.get(EPOCH, "")), commit_of(folder))


def _time(epoch: str) -> str:
    try:
        at = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidRequest(f"{EPOCH}={epoch[:32]!r} is no Unix time") from None
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def commit_of(folder: Path) -> Commit:
    """Return the commit of a folder, of which git knows."""
    sha = git(folder, "rev-parse", "HEAD")
    if not sha:
        return Commit()
    remote = redacted(git(folder, "config", "--get", "remote.origin.url"))
    return Commit(sha, remote, bool(git(folder, "status", "--porcelain", "--", ".")))


def statement(bundle: ImageManifest, manifest: BundleManifest, build: Build) -> bytes:
    """Return the provenance of a bundle, as JSON."""
    commit = build.commit
    materials: list[Json] = [
        {"uri": redacted(uri), "digest": {"sha256": one.sha256}}
        for uri, one in sorted(manifest.artefacts.items())
    ]
    if commit.sha:
        materials.insert(
            0,
            {
                "uri": f"git+{commit.remote}" if commit.remote else "git",
                "digest": {"gitCommit": commit.sha},
                "annotations": {"dirty": commit.is_dirty},
            },
        )
    return canonical(
        {
            "_type": STATEMENT,
            "subject": [
                {"name": manifest.graph, "digest": {"sha256": bundle.descriptor.sha256}},
                {"name": f"{manifest.graph}.code", "digest": {"anabranch": manifest.code}},
            ],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD,
                    "externalParameters": {"spec": manifest.spec, "version": manifest.version},
                    "internalParameters": {"author": build.author},
                    "resolvedDependencies": materials,
                },
                "runDetails": {
                    "builder": {
                        "id": f"urn:anabranch:builder:{quote(build.author, '')}",
                        "version": {"anabranch": manifest.anabranch},
                    },
                    "metadata": {"startedOn": build.at},
                },
            },
        }
    )


def build_in(found: Json, bundle: ImageManifest) -> Build:
    """Return the build that a statement tells of; InvalidRequest where it is of another bundle."""
    try:
        subjects = [one["digest"].get("sha256") for one in found["subject"]]
        definition = found["predicate"]["buildDefinition"]
        at = str(found["predicate"]["runDetails"]["metadata"]["startedOn"])
        author = str(definition["internalParameters"]["author"])
        commits = [
            Commit(
                str(one["digest"]["gitCommit"]),
                str(one["uri"]),
                bool(one.get("annotations", {}).get("dirty")),
            )
            for one in definition["resolvedDependencies"]
            if "gitCommit" in one["digest"]
        ]
    except (AttributeError, KeyError, TypeError):
        raise InvalidRequest("its provenance is none that `anabranch build` writes") from None
    if bundle.descriptor.sha256 not in subjects:
        raise InvalidRequest("its provenance is that of another bundle")
    return Build(author, at, *commits[:1])
