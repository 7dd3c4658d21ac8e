"""Stores as earlier releases left them, of each version of the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import Engine

from anabranch.control.store import schema

VERSIONS = range(1, schema.SCHEMA_VERSION)
"""Those that this anabranch migrates."""
_SCRIPT = Path(__file__).with_name("released.sql")
_FROM = re.compile(r" ?-- (\d+)$")
_KEYS = {"sqlite": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", "postgresql": "SERIAL PRIMARY KEY"}


def make(engine: Engine, version: int) -> None:
    """Make a store of a version in place of the one that there is."""
    with engine.begin() as connection:
        schema.tables.drop_all(connection)
        for statement in _statements(version, connection.dialect.name):
            connection.exec_driver_sql(statement)


def _statements(version: int, dialect: str) -> Iterator[str]:
    lines = (line for line in _SCRIPT.read_text().splitlines() if not line.startswith("--"))
    script = "\n".join(_FROM.sub("", line) for line in lines if _first(line) <= version)
    script = script.replace("{key}", _KEYS[dialect]).replace("{version}", str(version))
    script = script.replace("{name}", "VARCHAR(63)" if version < 6 else "VARCHAR(127)")
    return (part for part in script.split(";") if part.strip())


def _first(line: str) -> int:
    """Return the version that a line is there from."""
    found = _FROM.search(line)
    return 1 if found is None else int(found[1])
