"""A repository of Feast in a folder: Parquet as its offline store, SQLite as its online store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 11, 1, tzinfo=UTC)
CONFIGURATION = """\
project: shop
provider: local
registry: registry.db
online_store: {type: sqlite, path: online.db}
entity_key_serialization_version: 3
"""
Rows = Sequence[tuple[int, datetime, int, float, str, list[float]]]
"""User, time, age, score, tier, and a vector."""
ROWS: Rows = [
    (1, START, 30, 0.1, "silver", [0.0, 0.5]),
    (1, START + timedelta(days=2), 31, 0.7, "gold", [1.0, 1.5]),
    (2, START + timedelta(days=1), 40, 1 / 3, "gold", [2.0, 2.5]),
]


def make_repository(folder: Path, rows: Rows = ROWS, until: datetime | None = None) -> Any:
    """Return the store of a new repository whose rows up to a time are in the online store."""
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Float64, Int64, String

    folder.mkdir()
    (folder / "feature_store.yaml").write_text(CONFIGURATION)
    columns = ["user_id", "event_timestamp", "age", "score", "tier", "vector"]
    file = folder / "users.parquet"
    pd.DataFrame(rows, columns=columns).to_parquet(file)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    fields = {"age": Int64, "score": Float64, "tier": String, "vector": Array(Float64)}
    view = FeatureView(
        name="users",
        entities=[user],
        ttl=timedelta(days=365),
        schema=[Field(name=name, dtype=dtype) for name, dtype in fields.items()],
        source=FileSource(path=str(file), timestamp_field="event_timestamp"),
    )
    store = FeatureStore(repo_path=str(folder))
    store.apply([user, view])
    store.materialize(START - timedelta(days=1), until or START + timedelta(days=300))
    return store
