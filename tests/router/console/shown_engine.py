"""A control plane with a past, a rollout, drift and log lines, for consoles in a browser."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import orjson

from anabranch import Graph
from anabranch.access.identity import Asker
from anabranch.graph.compile.render import plan_to_json
from anabranch.router.errors import Headers
from anabranch.telemetry.definitions import (
    NODE_DURATION,
    NODE_ERRORS,
    REQUEST_DURATION,
    REQUESTS,
    REQUESTS_IN_FLIGHT,
)
from anabranch.telemetry.registry import Registry, Snapshot
from tests.router.askers import LetsIn

NAME = "team/shop"
TOKEN = "right"
DAY = 86_400.0
POINTS = 1440
NODES = ("scale", "forest", "net", "vote")
DASHBOARDS = {one: f"http://grafana.test/d/{one}" for one in ("overview", "graph", "rollout")}


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def plan() -> dict[str, Any]:
    built = Graph(NAME).input("cells", "FP32", [-1, 4])
    built.transformer("scale", method="scale", args={"divide_by": 2.0}, inputs={"x": "cells"})
    built.predictor("forest", component="c.py:Forest", inputs={"x": "scale"}, args={"trees": 80})
    built.predictor("net", component="c.py:Net", inputs={"x": "scale"}, resources={"gpu": 0.5})
    built.combiner("vote", strategy="mean", inputs=["forest", "net"]).output("y", "vote")
    return plan_to_json(built.plan)


def machine(now: float, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name, "id": name, "address": "10.0.0.2", "head": False, "state": "alive",
        "since": iso(now - DAY), "labels": {}, "segments": [],
        "resources": {
            "CPU": {"total": 8.0, "used": 1.5}, "memory": {"total": 2.0**34, "used": 2.0**33},
        },
    } | fields  # fmt: skip


def watch(now: float, model: str, **fields: Any) -> dict[str, Any]:
    return {
        "model": model, "nodes": ["forest"], "every": 30.0, "pin": "models:/m/1",
        "found": "models:/m/1", "looked_at": iso(now - 30), "trouble": "", "since": None,
    } | fields  # fmt: skip


class ShownEngine(LetsIn):
    """Answers as the controller does; ``now`` is Unix time when it was made."""

    secret = TOKEN

    def __init__(self) -> None:
        self.now = time.time()
        self.registry = Registry()
        self.codes = {"once"}
        self.asked: list[tuple[str, str]] = []
        self.others = 2
        self.begins = 0
        """The first point of the past at which there was the graph."""
        self.waits_for_approval = False
        self.nodes = [machine(self.now, "engine", head=True)]
        self.waiting: list[dict[str, Any]] = []
        self.watches: list[dict[str, Any]] = []
        self.me: dict[str, Any] = {
            "kind": "token", "name": "", "roles": [], "actions": ["call", "operate", "view"],
        }  # fmt: skip
        self._answers: dict[str, Callable[[], Any]] = {
            "/graphs": self.graphs_view,
            f"/graphs/{NAME}": self.graph,
            f"/graphs/{NAME}/monitors": self.monitors,
            f"/graphs/{NAME}/history": self.history,
            f"/graphs/{NAME}/replicas": self.replicas,
            f"/graphs/{NAME}/revisions/2/example": self.example,
            f"/graphs/{NAME}/revisions/3/diff": self.diff,
            f"/graphs/{NAME}/rollout/approve": dict,
            "/history": self.rates,
            "/events": self.events,
            "/nodes": lambda: {"nodes": self.nodes, "waiting": self.waiting, "pending": []},
            "/links": lambda: {"ray": "http://ray.test/", "grafana": DASHBOARDS},
            **{f"/graphs/{NAME}/revisions/{number}/plan": plan for number in (2, 3)},
        }

    async def graphs(self) -> dict[str, Any]:
        return {}

    async def metrics(self) -> Snapshot:
        """Counts that grow with each look."""
        for code, count in (("200", 97), ("500", 3)):
            self.registry.number(REQUESTS, NAME, "infer", "http", code).value += count
        self.registry.number(REQUESTS_IN_FLIGHT, NAME).value = 4
        for place, node in enumerate(NODES):
            labels = (NAME, "2", node)
            cell = self.registry.distribution(NODE_DURATION, *labels)
            for index in range(100):
                cell.observe(0.002 * (1 + place) * (1 + index / 100))
        self.registry.number(NODE_ERRORS, NAME, "2", "net", "NodeError").value += 3
        whole = self.registry.distribution(REQUEST_DURATION, NAME, "infer", "http")
        for index in range(100):
            whole.observe(0.01 + index / 2000)
        return self.registry.snapshot()

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Headers, bytes]:
        self.asked.append((method, path))
        if path == "/sessions":
            asked = orjson.loads(body)
            return self._sign_in(asked["code"]) if "code" in asked else self.session(method, body)
        if path == "/access/me":
            return 200, (), orjson.dumps(self.me)
        if path == f"/graphs/{NAME}/logs":
            return 200, (), orjson.dumps(self.logs(parse_qs(query)))
        found = self._answers.get(path)
        if found is None:
            return 404, (), b'{"error": "not there"}'
        return 200, (), orjson.dumps(found())

    def _sign_in(self, code: str) -> tuple[int, Headers, bytes]:
        if code not in self.codes:
            return 404, (), b'{"error": "this link was used before"}'
        self.codes.remove(code)
        return self.begun()

    def graphs_view(self) -> dict[str, Any]:
        shop = {
            "graph": NAME, "state": "live", "live": 2, "drifting": ["inputs"],
            "unfollowed": [one for one in self.watches if one["trouble"]],
            "rollout": {"revision": 3, "phase": "running", "weight": 25.0},
        }  # fmt: skip
        quiet = [
            {"graph": f"quiet-{number}", "state": "asleep", "live": 1, "rollout": None,
             "drifting": [] if number else None}
            for number in range(self.others)
        ]  # fmt: skip
        return {"graphs": [shop, *quiet]}

    def graph(self) -> dict[str, Any]:
        times = {"p50": 0.012, "p95": 0.03, "p99": 0.05}
        arms = [
            {"revision": 2, "state": "live", "weight": 75.0, "share": 75.0, "error_rate": 0.001,
             "requests_per_second": 75.0, "latency": times, "feedback": {"reward": None}},
            {"revision": 3, "state": "ready", "weight": 25.0, "share": 25.0, "error_rate": 0.004,
             "requests_per_second": 25.0, "latency": times, "feedback": {"reward": 0.75}},
        ]  # fmt: skip
        revisions = [
            {"revision": number, "state": state, "reason": "", "author": "ada", "digest": "ab" * 32,
             "message": message, "created_at": iso(self.now - age), "live_at": live}
            for number, state, age, message, live in (
                (3, "ready", 900.0, "sharper", None),
                (2, "live", 2 * DAY, "first that is good", iso(self.now - DAY)),
                (1, "retired", 9 * DAY, "", iso(self.now - 8 * DAY)),
            )
        ]  # fmt: skip
        return {
            "graph": NAME, "state": "live", "live": 2, "inlined": 2, "arms": arms,
            "mirrors": [], "rollout": self.rollout(), "revisions": revisions,
            "segments": self.segments(), "watches": self.watches,
        }  # fmt: skip

    def rollout(self) -> dict[str, Any]:
        """The rollout, which may wait for an approval since two minutes."""
        if self.waits_for_approval:
            asked = {"role": "operator", "other_than": "key 'ann'"}
            found = self._rollout()
            return found | {
                "phase": "paused", "paused_by": "approval", "paused_at": iso(self.now - 120),
                "approval": asked, "reason": "step 2 of 3 waits for an approval",
                "held_until": None, "plan": found["plan"] | {"approve": {}},
            }  # fmt: skip
        return self._rollout()

    def _rollout(self) -> dict[str, Any]:
        limits = [{"metric": "error_rate", "max": 0.01}, {"metric": "latency_p95", "max": "1.2x"}]
        return {
            "revision": 3, "phase": "running", "paused_by": None,
            "paused_at": None, "approval": None, "reason": "", "step": 2, "steps": [5, 25, 50],
            "weight": 25.0, "held_until": iso(self.now + 300), "next_look": iso(self.now + 600),
            "measurements": [
                {**one, "message": f"{one['metric']} in words", "samples": 250}
                for one in self._measured(0)
            ],
            "plan": {"steps": [5, 25, 50], "analysis": {"metrics": limits}},
        }  # fmt: skip

    def _measured(self, index: int) -> list[dict[str, Any]]:
        errors = 0.012 if index % 9 == 8 else 0.004 + 0.002 * math.sin(index)
        verdict = "pass" if errors <= 0.01 else "fail"
        slow = 0.03 + 0.004 * math.cos(index)
        reward = {"metric": "reward", "verdict": "inconclusive", "value": None, "limit": 0.5}
        return [
            {"metric": "error_rate", "verdict": verdict, "value": errors, "limit": 0.01},
            {"metric": "latency_p95", "verdict": "pass", "value": slow, "limit": 0.04},
            reward,
        ]  # fmt: skip

    def monitors(self) -> dict[str, Any]:
        feature = {"name": "cells[3]", "score": 2.5}
        drift = {
            "revision": 2, "monitor": "inputs", "method": "ks", "state": "drift", "score": 2.5,
            "rows": 9000, "outlier_share": None, "error": "", "features": [feature],
        }  # fmt: skip
        return {"monitors": [drift]}

    def _at(self, points: int = POINTS) -> list[float]:
        return [self.now - 5.0 * (points - 1 - index) for index in range(points)]

    def rates(self) -> dict[str, Any]:
        at = self._at(120)
        graphs = {NAME: [80 + 20 * math.sin(index / 9) for index in range(120)]}
        quiet: dict[str, list[Any]] = {f"quiet-{n}": [0.0] * 120 for n in range(self.others)}
        return {"now": self.now, "interval": 5.0, "at": at, "graphs": graphs | quiet}

    def history(self) -> dict[str, Any]:
        at = self._at()

        def wave(base: float, size: float, since: int = 0) -> list[float | None]:
            return [
                None if index < since else base + size * math.sin(index / 60)
                for index in range(POINTS)
            ]

        def series(scale: float, since: int = 0) -> dict[str, Any]:
            return {
                "per_second": wave(80 * scale, 20 * scale, since),
                "error_rate": wave(0.004, 0.002, since),
                "p50": wave(0.012, 0.004, since),
                "p95": wave(0.03, 0.006, since),
                "p99": wave(0.05, 0.02, since),
            }

        looks = [
            {"at": self.now - 1 - 20.0 * index, "revision": 3, "step": 2,
             "measurements": self._measured(index)}
            for index in reversed(range(40))
        ]  # fmt: skip
        return {
            "graph": NAME, "now": self.now, "interval": 5.0, "at": at,
            "total": {**series(1, self.begins), "in_flight": wave(3, 2, self.begins)},
            "arms": {"2": series(0.75), "3": series(0.25, POINTS - 180)}, "looks": looks,
        }  # fmt: skip

    def events(self) -> dict[str, Any]:
        kinds = [
            (1, 8 * DAY, "promoted", "", {}),
            (2, 2 * DAY, "deployed", "", {}),
            (2, DAY, "promoted", "", {}),
            (3, 900, "deployed", "sharper", {}),
            (3, 800, "rollout_step", "step 1 of 3: 5 %", {"step": 1}),
            *(
                (3, 700 - 100 * index, "analysis_pass", "error_rate 0.004 <= max 0.01",
                 {"step": 2, "measurements": self.rollout()["measurements"]})
                for index in range(5)
            ),
        ]  # fmt: skip
        events = [
            {"id": index, "graph": NAME, "revision": revision, "kind": kind, "message": message,
             "at": self.now - age, "data": data, "actor": self._actor(kind)}
            for index, (revision, age, kind, message, data) in enumerate(kinds)
        ]  # fmt: skip
        return {"events": events}

    def _actor(self, kind: str) -> dict[str, str]:
        if kind.startswith("analysis"):
            return {"kind": "engine", "name": "", "address": "", "request_id": ""}
        return {"kind": "key", "name": "ann", "address": "192.0.2.7", "request_id": ""}

    def segments(self) -> list[dict[str, Any]]:
        """One of them is down."""
        net = {"name": "net", "nodes": ["net"], "replicas": 1, "running": 0}
        return [{**net, "down_since": iso(self.now - 60), "reason": "its node is lost"}]

    def replicas(self) -> dict[str, Any]:
        def one(part: str, deployment: str, revision: int | None, state: str) -> dict[str, Any]:
            name = f"{deployment}{revision or ''}{state[0].lower()}7k2"
            return {
                "part": part, "deployment": deployment, "revision": revision, "state": state,
                "replica": name, "pid": 4711, "node": "127.0.0.1",
                "started_at": iso(self.now - DAY),
            }  # fmt: skip

        found = [
            one("router", "router", None, "RUNNING"), one("segments", "net", 2, "RUNNING"),
            one("segments", "net", 2, "DEAD"), one("head", "head", 3, "STARTING"),
        ]  # fmt: skip
        return {"graph": NAME, "replicas": found}

    def logs(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        node = query.get("node", ["net"])[-1]
        if "after" in query:
            return {"lines": [], "cursor": "1:9"}
        line = {
            "time": iso(self.now), "graph": NAME, "revision": "2", "node": node, "level": "INFO",
            "logger": "parts", "replica": "team_shop/net#x7k2",
        }  # fmt: skip
        older = {**line, "time": iso(self.now - 2 * DAY), "message": "loaded <b>weights</b>"}
        error = {**line, "level": "ERROR", "message": f"{node} failed", "traceback": "c.py:7"}
        return {"lines": [older, error], "cursor": "1:7"}

    def example(self) -> dict[str, Any]:
        data = [[0.5, 1.5, 2.5, 3.5]]
        tensor = {"name": "cells", "datatype": "FP32", "shape": [1, 4], "data": data}
        return {"source": "warmup", "request": {"inputs": [tensor]}}

    def diff(self) -> dict[str, Any]:
        text = "--- r2\n+++ r3\n@@ -1 +1 @@\n-trees: 40\n+trees: 80"
        return {"spec": ["forest.args.trees: 40 → 80"], "plan": [], "models": [], "files": [],
                "text": text}  # fmt: skip
