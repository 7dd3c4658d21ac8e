"""Tags of versions in a model registry: what graphs want there, and what it was told.

A registry that is away is told later, of how things stand then; nothing that it was told is told
again, but for what was under way when a controller died.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from anabranch.control.store.database import Database
from anabranch.control.store.schema import version_tags


@dataclass(frozen=True)
class VersionTags:
    """The tags of one version for one graph, by key."""

    graph: str
    version: str
    wanted: Mapping[str, str]
    told: Mapping[str, str]


class VersionTagStore:
    """The tags that a store holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[VersionTags]:
        """Return all tags, those that were changed longest ago first."""
        query = sa.select(version_tags).order_by(
            version_tags.c.updated_at, version_tags.c.graph, version_tags.c.version
        )
        with self._database.read() as connection:
            return [
                VersionTags(
                    row["graph"], row["version"], json.loads(row["wanted"]), json.loads(row["told"])
                )
                for row in connection.execute(query).mappings()
            ]

    def want(self, graph: str, version: str, wanted: Mapping[str, str]) -> None:
        """Keep the tags that a version is to have."""
        values = {"wanted": json.dumps(dict(wanted)), "updated_at": time.time()}
        mine = (version_tags.c.graph == graph, version_tags.c.version == version)
        with self._database.write() as connection:
            if connection.execute(version_tags.update().where(*mine).values(values)).rowcount:
                return
            row = {"graph": graph, "version": version, "told": "{}", **values}
            connection.execute(version_tags.insert().values(row))

    def told(self, tags: VersionTags) -> None:
        """Note that the registry has the tags that were wanted, or will not take them."""
        mine = (version_tags.c.graph == tags.graph, version_tags.c.version == tags.version)
        values = {"told": json.dumps(dict(tags.wanted))}
        with self._database.write() as connection:
            connection.execute(version_tags.update().where(*mine).values(values))

    def forget(self, before: float) -> None:
        """Remove the tags that have been told, and were changed before a Unix time."""
        old = version_tags.c.updated_at < before
        done = version_tags.c.told == version_tags.c.wanted
        with self._database.write() as connection:
            connection.execute(version_tags.delete().where(old, done))
