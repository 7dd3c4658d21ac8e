"""A real Prometheus watches an engine through a canary, a mirror, batches, explanations, failures.

It scrapes both exports: the gateway's ``/metrics`` and Ray's agents, which it finds by Ray's own
discovery file. What it counted is what the clients counted, and every query of every dashboard and
every rule had something to show, the alerts included: all that they are for happens here, or, where
it is a feature of its own, in ``features_scene.py``.

The engine is one of its own, so that it may end while Prometheus watches.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from anabranch.client.connection.engine_state import read_state
from anabranch.telemetry.dashboards import JOBS, PREFIXES, Source, dashboard_files
from tests.control import web
from tests.e2e.conftest import Given, node, spec
from tests.e2e.features_scene import GRAPHS, Features
from tests.e2e.panels import ELSEWHERE, SOURCES, dashboards, filled, queries
from tests.e2e.test_grpc import Client, asking
from tests.engines import Engine, done
from tests.ports import free_ports
from tests.telemetry import prometheus
from tests.telemetry.collector import Collector, collecting
from tests.telemetry.prometheus import Prometheus
from tests.waiting import until

joblib = pytest.importorskip("joblib")
linear = pytest.importorskip("sklearn.linear_model")
pytest.importorskip("skops")
pytest.importorskip("redis")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="the package prometheus is not installed"
    ),
]

NAME = "watched"
CLIENTS = 16
GRPC = 75
REWARDS = 50
"""Requests over gRPC, and rewards, in a round."""
CODE = '''
import asyncio
import time

import numpy as np

from anabranch.explainers.explanation import Explanation


class Half:
    def transform(self, x):
        return x / 2


class Net:
    """Two classes; the candidate sees the second where the stable revision sees the first."""

    def __init__(self, changed=False):
        self.changed = changed

    def predict(self, x):
        time.sleep(0.004)
        turned = self.changed & (x[:, :1] > 0.35)
        return np.where(turned, x[:, ::-1], x)


class Pass:
    """Copies fail, or take long, where the request says so."""

    async def transform(self, x, context):
        if "x-anabranch-mirror" in context.headers:
            mode = context.headers.get("x-mode")
            if mode == "stall":
                await asyncio.sleep(3)
            if mode == "break":
                raise RuntimeError("the mirror is broken")
        return x


class Guard:
    def transform(self, x):
        if (x < 0).any():
            raise ValueError("a negative number")
        return x


class Slow:
    async def transform(self, x):
        await asyncio.sleep(1.2)
        return x


class Narrow:
    def predict(self, x):
        time.sleep(0.05)
        return x


class Late:
    def load(self):
        time.sleep(4)

    def transform(self, x):
        return x


class Why:
    def attach(self, model):
        self.model = model

    def explain(self, x, context):
        if context.parameters.get("fail"):
            raise RuntimeError("no idea")
        return [
            Explanation(method="why", seed=0, feature_names=("a", "b"), attributions=row.tolist())
            for row in x
        ]


class Broken:
    def score(self, **inputs):
        raise RuntimeError("this monitor is broken")
'''
MODELS = ("one", "two", "three")


def graph(changed: bool = False, **more: Any) -> dict[str, Any]:
    """Each kind of node, and an output for each way through them."""
    away = {"placement": {"isolate": True}}
    predictor = {"type": "predictor", "inputs": {"x": "x"}}
    nodes: dict[str, Any] = {
        "half": node("Half"),
        "net": {
            "type": "predictor",
            "component": "components.py:Net",
            "args": {"changed": changed},
            "inputs": {"x": "half"},
            "batching": {"max_size": 8, "max_delay": "2ms", "max_queue": 1000},
            **away,
        },
        "left": node("Pass", "net"),
        "right": node("Pass", "net"),
        "pick": {"type": "router", "strategy": "weighted", "routes": {"left": 50, "right": 50}},
        "guard": node("Guard"),
        "shaky": node("Guard", idempotent=True, retries=1, on_error={"use": "half"}),
        "slow": node("Slow"),
        "narrow": {
            **predictor,
            "component": "components.py:Narrow",
            "batching": {"max_size": 1, "max_queue": 2},
        },
        "rare": node("Late", scaling={"min": 0, "max": 1, "downscale_delay": "500ms"}),
        "models": {
            **predictor,
            "runtime": "sklearn",
            "model": "models/{model}.joblib",
            "multiplex": {"max_loaded": 2},
        },
        "why": {
            "type": "explainer",
            "component": "components.py:Why",
            "explains": "guard",
            "sample": "10%",
        },
    }
    found = spec(NAME, **nodes)
    outputs = ("pick", "guard", "shaky", "slow", "narrow", "rare", "models")
    first = {"first": 100}
    found["spec"] |= {
        "outputs": {name: name for name in outputs},
        "monitors": {
            "inputs": {"method": "ks", "reference": first, "window": 50},
            "odd": {"method": "mahalanobis", "reference": first, "window": 50},
            "broken": {"component": "components.py:Broken", "window": 50},
            "spread": {"method": "sketch", "window": 50},
        },
        "telemetry": {"trace": "10%", "requests": {"to": more.pop("log")}},
        **more,
    }
    return found


ROLLOUT = {
    "steps": [30, 60],
    "hold": "1h",
    "mirror": 40,
    "analysis": {
        "interval": "2s",
        "failure_limit": 2,
        "min_samples": 20,
        "metrics": [{"metric": "error_rate", "max": 0.5}],
    },
}


@dataclass(frozen=True)
class Ask:
    """One request over HTTP; ``way`` is the output that it asks for."""

    way: str
    row: tuple[float, ...]
    path: str = "infer"
    parameters: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(self.row)], "data": self.row}
        outputs = {"outputs": [{"name": self.way}]} if self.path == "infer" else {}
        return {"inputs": [tensor], "parameters": self.parameters, **outputs}


@dataclass
class Counted:
    """What the clients counted."""

    codes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By endpoint, protocol and code."""
    revisions: Counter[str] = field(default_factory=Counter)
    """Good predictions by the revision that made them."""
    failed: int = 0
    """Predictions that the engine failed."""
    paths: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Good predictions by ``pick``, by revision and route."""
    ids: list[tuple[str, str]] = field(default_factory=list)
    """Ids of good predictions by ``pick``, with their revisions."""

    def take(self, ask: Ask, reply: httpx.Response) -> None:
        self.codes[ask.path, "http", str(reply.status_code)] += 1
        if ask.path != "infer":
            return
        self.failed += reply.status_code >= 500
        if reply.status_code == 200:
            answer = reply.json()
            self.revisions[answer["model_version"]] += 1
            if ask.way == "pick":
                routing = json.loads(answer["parameters"]["routing"])
                self.paths[answer["model_version"], routing["path"]["pick"]] += 1
                self.ids.append((routing["id"], answer["model_version"]))


def ordinary() -> list[Ask]:
    """Two thousand requests, less those over gRPC: good ones, wrong ones, and some that fail."""
    rng = random.Random(6)

    def row() -> tuple[float, float]:
        return rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9)

    asks = [Ask("pick", row()) for _ in range(1500)]
    asks += [Ask("pick", row(), headers={"x-mode": "break"}) for _ in range(60)]
    asks += [Ask("guard", (-0.5, 0.5)) for _ in range(80)]
    asks += [Ask("shaky", (-0.5, 0.5)) for _ in range(20)]
    asks += [Ask("slow", row()) for _ in range(48)]
    asks += [Ask("pick", (0.5, 0.5, 0.5)) for _ in range(40)]
    asks += [Ask("models", row(), parameters={"model": rng.choice(MODELS)}) for _ in range(60)]
    asks += [Ask("models", row(), parameters={"model": "absent"}) for _ in range(2)]
    asks += [Ask("guard", row(), path="explain") for _ in range(38)]
    asks += [Ask("guard", row(), path="explain", parameters={"fail": True}) for _ in range(2)]
    rng.shuffle(asks)
    return asks


@dataclass
class Scene:
    """The engine, the Prometheus that watches it, and what happened when."""

    engine: Engine
    prometheus: Prometheus
    collector: Collector
    counted: Counted = field(default_factory=Counted)
    began: float = field(default_factory=time.time)
    settled: float = 0.0
    """When all was counted and nothing was on its way."""
    health: int = 0
    discovered: list[dict[str, Any]] = field(default_factory=list)
    scraped: set[str] = field(default_factory=set)
    rays: set[str] = field(default_factory=set)

    def look_at_ray(self, folder: Path) -> None:
        """What Ray's dashboard says and has written."""
        self.health = self.engine.dashboard("/api/prometheus_health").status_code
        self.discovered = self.engine.dashboard("/api/prometheus/sd").json()
        self.scraped = {
            target["discoveredLabels"]["__address__"]
            for target in self.prometheus.targets()
            if target["labels"]["job"] == JOBS["ray"]
        }
        self.rays = {path.name for path in (folder / "dashboards").iterdir()}

    def ask(self, asks: list[Ask], clients: int = CLIENTS) -> None:
        asyncio.run(self._all(asks, clients))

    async def _all(self, asks: list[Ask], clients: int) -> None:
        left = iter(asks)
        limits = httpx.Limits(max_connections=clients)
        async with httpx.AsyncClient(timeout=60, trust_env=False, limits=limits) as client:

            async def one() -> None:
                for ask in left:
                    reply = await client.post(
                        f"{self.engine.graph_url(NAME)}/{ask.path}",
                        json=ask.body(),
                        headers=ask.headers,
                    )
                    self.counted.take(ask, reply)

            await asyncio.gather(*(one() for _ in range(clients)))

    def ask_grpc(self, count: int) -> None:
        client = Client(self.engine.ports.grpc)
        with client.channel:
            for _ in range(count):
                message = asking(NAME)
                message.outputs.add(name="pick")
                answer = client("ModelInfer", message)
                self.counted.codes["infer", "grpc", "OK"] += 1
                self.counted.revisions[answer.model_version] += 1
                routing = json.loads(answer.parameters["routing"].string_param)
                self.counted.paths[answer.model_version, routing["path"]["pick"]] += 1

    def tell(self, **body: Any) -> None:
        """Feedback on a request."""
        url = f"{self.engine.graph_url(NAME)}/feedback"
        reply = httpx.post(url, json=body, timeout=60)
        self.counted.codes["feedback", "http", str(reply.status_code)] += 1
        assert reply.status_code == 200, reply.text

    def total(self, source: Source, name: str, by: str = "", **labels: str) -> float:
        """What a metric of the graph is now, or was when all had settled."""
        matchers = ", ".join(f'{key}="{text}"' for key, text in {"graph": NAME, **labels}.items())
        query = f"{PREFIXES[source]}anabranch_{name}{{{matchers}}}"
        return self.prometheus.total(query, self.settled or None)


def deployed(given: Given, spec: dict[str, Any]) -> None:
    path = given.bundle(spec, CODE)
    (path.parent / "models").mkdir()
    for number, name in enumerate(MODELS):
        model = linear.LinearRegression().fit([[0, 0], [1, 2], [2, 1]], [0, 1, number])
        joblib.dump(model, path.parent / "models" / f"{name}.joblib")
    done(given.deploy_file(NAME, path))


def rules(folder: Path) -> list[Path]:
    found = []
    for source in SOURCES:
        path = folder / f"{source}.yml"
        path.write_text(dashboard_files(source)["prometheus/rules/anabranch.yml"])
        found.append(path)
    return found


def jobs(engine: Engine) -> list[dict[str, Any]]:
    """Both exports, as in ``scrape_configs``."""
    state = read_state(engine.home)
    assert state is not None
    discovery = Path(state.runtime) / "ray" / "prom_metrics_service_discovery.json"
    own = [{"targets": [f"127.0.0.1:{engine.ports.http}"]}]
    rays = [{"files": [str(discovery)], "refresh_interval": "1s"}]
    # Each of the values that agents have every five seconds is seen, and large replies have time.
    pace = {"scrape_interval": "4s", "scrape_timeout": "4s"}
    return [
        {"job_name": JOBS["gateway"], "static_configs": own},
        {"job_name": JOBS["ray"], "file_sd_configs": rays, **pace},
    ]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """All that happens, from the engine's start to its end; Prometheus goes on."""
    folder = tmp_path_factory.mktemp("prometheus")
    nobody, own = free_ports(2)
    log = f"http://127.0.0.1:{nobody}/log"
    with collecting() as collector, web.running() as hooks:
        env = {
            "ANABRANCH_WEBHOOKS": f"{hooks.url}/",
            "ANABRANCH_JOBS": str(folder),
            "ANABRANCH_CACHE_URL": f"redis://127.0.0.1:{nobody}",
            # Half of Ray's; gauges that are not shown again within two of them are dropped.
            "RAY_metrics_report_interval_ms": "5000",
            "ANABRANCH_REQUEST_LOGS": log,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_url,
            # As in docker-compose.yml.
            "RAY_PROMETHEUS_HOST": f"http://127.0.0.1:{own}",
            "RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR": str(folder / "dashboards"),
        }
        home = tmp_path_factory.mktemp("engine")
        engine = Engine(home, env)
        try:
            engine.up()
            with prometheus.running(folder, own, jobs(engine), rules(folder)) as server:
                one, given = Scene(engine, server, collector), Given(engine, folder)
                Features(engine, server, given, folder, f"{hooks.url}/over").happen()
                happen(one, given, log)
                one.look_at_ray(folder)
                engine.down()
                until(lambda: bool(server.query(f'up{{job="{JOBS["gateway"]}"}} == 0')))
                yield one
        finally:
            engine.down()


def happen(scene: Scene, given: Given, log: str) -> None:
    """The story, up to when all has been counted.

    Two rounds, since Prometheus sees a counter grow only from its second value on.
    """
    deployed(given, graph(log=log))
    deployed(given, graph(changed=True, log=log, rollout=ROLLOUT))
    asks = ordinary()
    assert len(asks) + 2 * GRPC == 2000
    for half in (0, 1):
        go_round(scene, asks[half::2])

    # A node that sleeps is woken.
    until(lambda: scene.total("gateway", "replicas", segment="rare", state="running") == 0)
    scene.ask([Ask("rare", (0.5, 0.5))])

    # Other data, and then nothing but failures, which end the rollout.
    scene.ask([Ask("pick", (5.0 + n / 500, -3.0)) for n in range(500)])
    until(lambda: bool(scene.prometheus.query("anabranch_monitor_drift == 1")))
    while scene.engine.api("GET", f"/graphs/{NAME}/rollout").json()["phase"] != "aborted":
        scene.ask([Ask("guard", (-0.5, 0.5))] * 100)
    for source in SOURCES:
        until(lambda source=source: scene.total(source, "rollout_state", state="aborted"))
    until_at_rest(scene)
    scene.settled = time.time()


def go_round(scene: Scene, asks: list[Ask]) -> None:
    """Ordinary requests; more copies than may be on their way; more requests than may wait."""
    known = len(scene.counted.ids)
    scene.ask(asks)
    scene.ask_grpc(GRPC)
    scene.ask([Ask("pick", (0.5, 0.5), headers={"x-mode": "stall"})] * 350, clients=32)
    scene.ask([Ask("narrow", (0.5, 0.5))] * 80, clients=80)

    new = scene.counted.ids[known:]
    for id, _ in new[:REWARDS]:
        scene.tell(id=id, truth=[0])
    of_each = {revision: id for id, revision in new[REWARDS:]}
    for id in (of_each["1"], of_each["2"]):
        scene.tell(id=id, reward=1)
        scene.tell(id=id, reward=1)
    until_at_rest(scene)


def until_at_rest(scene: Scene) -> None:
    for source in SOURCES:
        until(lambda source=source: at_rest(scene, source))


def at_rest(scene: Scene, source: Source) -> bool:
    """Whether an export shows all requests and spans, and nothing is on its way."""
    waiting = ("requests_in_flight", "mirror_pending", "outlet_waiting")
    spans = scene.total(source, "outlet_sent_total", outlet="traces")
    return (
        counted(scene, source) == scene.counted.codes
        and spans == len(scene.collector.spans)
        and not any(scene.total(source, name) for name in waiting)
        and all(scene.total(source, name, **labels) for name, labels in WITHIN.items())
    )


def counted(scene: Scene, source: Source) -> Counter[tuple[str, str, str]]:
    """Requests by endpoint, protocol and code; but for those that deploying made."""
    query = f'{PREFIXES[source]}anabranch_requests_total{{graph="{NAME}", endpoint!="other"}}'
    found: Counter[tuple[str, str, str]] = Counter()
    for labels, value in scene.prometheus.query(query, scene.settled or None):
        found[labels["endpoint"], labels["protocol"], labels["code"]] += int(value)
    return found


# Counts


@pytest.mark.parametrize("source", SOURCES)
def test_requests_are_those_of_the_clients(scene: Scene, source: Source) -> None:
    assert counted(scene, source) == scene.counted.codes
    for endpoint in ("infer", "explain", "feedback"):
        number = sum(n for (path, _, _), n in scene.counted.codes.items() if path == endpoint)
        name = "request_duration_seconds_count"
        assert scene.total(source, name, endpoint=endpoint) == number


@pytest.mark.parametrize("source", SOURCES)
def test_predictions_are_those_of_the_clients_by_revision(scene: Scene, source: Source) -> None:
    failed = 0.0
    for revision in ("1", "2"):
        errors = scene.total(source, "arm_errors_total", revision=revision)
        requests = scene.total(source, "arm_requests_total", revision=revision)
        assert requests - errors == scene.counted.revisions[revision], revision
        assert scene.total(source, "arm_latency_seconds_count", revision=revision) == requests
        failed += errors
    assert failed == scene.counted.failed


@pytest.mark.parametrize("source", SOURCES)
def test_every_copy_that_was_due_is_accounted_for(scene: Scene, source: Source) -> None:
    def copies(name: str) -> float:
        return scene.total(source, f"mirror_{name}_total", revision="2")

    assert copies("selected") == copies("sent") + copies("dropped")
    assert copies("sent") == copies("compared") + copies("errors")
    assert copies("compared") > copies("agreed") > 0 and copies("dropped") and copies("errors")


WITHIN = {
    "batch_requests_sum": {"node": "net"},
    "batch_size_rows_sum": {"node": "net"},
    "hop_duration_seconds_count": {"segment": "net"},
    "node_duration_seconds_count": {"node": "pick"},
}
"""What each good prediction by ``pick`` adds one to."""


@pytest.mark.parametrize("source", SOURCES)
def test_what_happened_within_adds_up(scene: Scene, source: Source) -> None:
    # Revision 1 gets no copies.
    for route in ("left", "right"):
        labels = {"revision": "1", "router": "pick", "route": route}
        routed = scene.total(source, "route_requests_total", **labels)
        assert routed == scene.counted.paths["1", route]
    by_clients = sum(n for (revision, _), n in scene.counted.paths.items() if revision == "1")
    for name, labels in WITHIN.items():
        assert scene.total(source, name, revision="1", **labels) == by_clients, name
    asked = {code: n for (path, _, code), n in scene.counted.codes.items() if path == "explain"}
    explained = sum(
        scene.total(source, "explanations_total", outcome=outcome)
        for outcome in ("explained", "cached")
    )
    sampled = scene.total(source, "explainer_samples_total", outcome="explained")
    assert explained == asked["200"] + sampled
    told = scene.counted.codes["feedback", "http", "200"]
    repeated = scene.total(source, "arm_rewards_repeated_total")
    assert scene.total(source, "arm_rewards_total") == told - repeated
    assert repeated == 4


@pytest.mark.parametrize("source", SOURCES)
def test_what_leaves_the_engine_was_delivered_or_dropped(scene: Scene, source: Source) -> None:
    def items(name: str, outlet: str) -> float:
        return scene.total(source, f"outlet_{name}_total", outlet=outlet)

    predictions = sum(n for (path, _, _), n in scene.counted.codes.items() if path == "infer")
    assert items("selected", "requests") == items("dropped", "requests") == predictions
    assert items("selected", "traces") == items("sent", "traces") == len(scene.collector.spans)
    traces = {span.trace_id for span in scene.collector.spans}
    assert 0.07 < len(traces) / sum(scene.counted.codes.values()) < 0.13


# Queries


@pytest.mark.parametrize("source", SOURCES)
def test_every_panel_had_something_to_show(scene: Scene, source: Source) -> None:
    """Of one of the graphs at least."""

    def is_shown(query: str) -> bool:
        texts = dict.fromkeys(filled(query, graph) for graph in (NAME, *GRAPHS))
        return any(scene.prometheus.ever(one, scene.began, scene.settled) for one in texts)

    empty = {(title, query) for title, query in queries(source) if not is_shown(query)}
    assert {title for title, _ in empty} == ELSEWHERE, "\n".join(map(str, sorted(empty)))


@pytest.mark.parametrize("source", SOURCES)
def test_every_variable_offers_what_there_is(scene: Scene, source: Source) -> None:
    revisions = {"revision": ["1", "2"], "candidate": ["2"], "stable": ["1", "2"]}
    wanted = {"graph": sorted([NAME, *GRAPHS]), **revisions}
    for dashboard in dashboards(source).values():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                series, label = re.fullmatch(
                    r"label_values\((.+), (\w+)\)", filled(variable["definition"], NAME)
                ).groups()
                assert scene.prometheus.values_of(label, series) == wanted[variable["name"]]


@pytest.mark.parametrize("source", SOURCES)
def test_every_rule_had_something_to_say(scene: Scene, source: Source) -> None:
    """The alerts too: each of what they tell has happened."""
    text = yaml.safe_load(dashboard_files(source)["prometheus/rules/anabranch.yml"])
    rules = [rule for group in text["groups"] for rule in group["rules"]]
    empty = [
        rule.get("alert") or rule["record"]
        for rule in rules
        if not scene.prometheus.ever(rule["expr"], scene.began, time.time())
    ]
    assert not empty
    assert all(rule["health"] == "ok" for rule in scene.prometheus.rules())


def test_latencies_have_exemplars_of_traces(scene: Scene) -> None:
    found = scene.prometheus.get(
        "query_exemplars",
        query=f'anabranch_request_duration_seconds_bucket{{graph="{NAME}"}}',
        start=scene.began,
        end=scene.settled,
    )
    ids = {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
    assert ids and ids <= {span.trace_id for span in scene.collector.spans}


def test_ray_s_dashboard_does_what_docker_compose_relies_on(scene: Scene) -> None:
    """It finds Prometheus, tells it where the agents are, and writes its own dashboards."""
    assert scene.health == 200
    told = {target for group in scene.discovered for target in group["targets"]}
    assert told == scene.scraped != set()
    assert {group["labels"]["job"] for group in scene.discovered} == {JOBS["ray"]}
    assert {"default_grafana_dashboard.json", "serve_grafana_dashboard.json"} <= scene.rays
