"""A graph with a lookup over a history in SQLite, asked while the history grows, and its log."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from anabranch.components.annotations import Annotations
from anabranch.components.contract import Context
from anabranch.components.tensors.datatypes import to_datatype
from anabranch.graph.compile.loading import open_graph
from anabranch.graph.local import LocalGraph
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse, OutputTensor
from anabranch.router.request_log import entries
from anabranch.router.request_log.entries import LogRule
from anabranch.router.request_log.events import encode

START = datetime(2026, 11, 1, tzinfo=UTC)
TABLE = "CREATE TABLE users (user_id INTEGER, age INTEGER, score REAL, tier TEXT, at TIMESTAMP)"
CODE = """
class Model:
    def predict(self, age, score):
        return age * score
"""


def document(args: Mapping[str, Any] | None = None, **requests: Any) -> dict[str, Any]:
    """Return the spec; ``args`` replace those of the lookup."""
    columns = {"age": "INT64", "score": "FP32", "tier": "BYTES"}
    profile = {
        "type": "transformer",
        "method": "lookup",
        "inputs": {"user_id": "user_id"},
        "args": {
            "store": "sqlite:///features.db",
            "table": "users",
            "timestamp": "at",
            "features": {name: name for name in columns},
            "defaults": {"age": -1, "score": 0.1, "tier": ""},
        }
        if args is None
        else dict(args),
        "timeout": "30s",
        "outputs": {name: {"datatype": kind, "shape": [-1]} for name, kind in columns.items()},
    }
    model = {
        "type": "predictor",
        "component": "model.py:Model",
        "inputs": {"age": "profile.age", "score": "profile.score"},
        "outputs": {"y": {"datatype": "FP64", "shape": [-1]}},
    }
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "shop"},
        "spec": {
            "inputs": {"user_id": {"datatype": "INT64", "shape": [-1]}},
            "nodes": {"profile": profile, "model": model},
            "outputs": {"y": "model.y"},
            "telemetry": {"requests": {"nodes": ["profile"], **requests}},
        },
    }


class FeatureLog:
    """Grows a history by days, asks the graph in between, and logs as a router does."""

    def __init__(
        self, folder: Path, args: Mapping[str, Any] | None = None, **requests: Any
    ) -> None:
        self.spec, self.log = folder / "graph.yaml", folder / "r1-a-1.jsonl"
        self.spec.write_text(yaml.safe_dump(document(args, **requests)))
        (folder / "model.py").write_text(CODE)
        self._database = folder / "features.db"
        self._count = 0
        self.execute(TABLE)
        self.graph = LocalGraph(open_graph(self.spec).plan, folder)

    def execute(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self._database)) as database, database:
            database.execute(statement, values)

    def insert(self, day: float, user: int, age: int, score: float, tier: str) -> None:
        at = (START + timedelta(days=day)).strftime("%Y-%m-%d %H:%M:%S.%f")
        self.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?)", user, age, score, tier, at)

    def ask(self, day: float, *users: int, rule: LogRule | None = None) -> str:
        """Ask for users, and log that this happened on a day; return the id of the request."""
        self._count += 1
        ids = np.array(users, np.int64)
        context = Context(annotations=Annotations(values={}))
        outputs = self.graph.run({"user_id": ids}, None, context)
        name = f"request-{self._count}"
        request = InferenceRequest({"user_id": ids}, request_id=name)
        response = InferenceResponse(
            "shop", "1", None,
            [OutputTensor(key, to_datatype(one.dtype), one) for key, one in outputs.items()],
            annotations=context.annotations,
        )  # fmt: skip
        rule = rule or LogRule(known=("user_id",))
        entry = entries.begin(rule, "shop", 1, request)
        entry.at = (START + timedelta(days=day)).timestamp()
        entries.answered(rule, entry, response)
        self.append(encode(entry, 2**20))
        return name

    def append(self, line: bytes) -> None:
        with self.log.open("ab") as log:
            log.write(line + b"\n")


def grown(folder: Path, **requests: Any) -> FeatureLog:
    """Return a log of five requests in the middle of a history, seven rows in all."""
    log = FeatureLog(folder, **requests)
    log.ask(0.5, 1, 2)
    log.insert(1, 1, 30, 0.1, "silver")
    log.ask(1.5, 1)
    log.insert(2, 2, 40, 1 / 3, "gold")
    log.insert(2.5, 1, 31, 0.7, "gold")
    log.ask(3, 2, 1)
    log.ask(3.1, 9)
    log.insert(4, 1, 32, 0.9, "gold")
    log.ask(4, 1)
    return log
