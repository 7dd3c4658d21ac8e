"""A real Prometheus of the test run's own: on a free loopback port, in a temporary folder."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 30.0


@dataclass
class Prometheus:
    """A server that runs; ``labels`` of a sample come as a dict."""

    url: str

    def get(self, path: str, **parameters: Any) -> Any:
        reply = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        answer = reply.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, query: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """What a query gives, now or at a time."""
        found = self.get("query", query=query, **({} if at is None else {"time": at}))
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]

    def total(self, query: str, at: float | None = None) -> float:
        """The sum of what a query gives; 0 for nothing."""
        return sum(value for _, value in self.query(query, at))

    def ever(self, query: str, start: float, end: float) -> list[dict[str, Any]]:
        """All series that a query gave at some second between two times."""
        found = self.get("query_range", query=query, start=start, end=end, step=1)
        return list(found["result"])

    def values_of(self, label: str, series: str) -> list[str]:
        """What Grafana's ``label_values(series, label)`` offers."""
        return list(self.get(f"label/{label}/values", **{"match[]": series}))

    def targets(self) -> list[dict[str, Any]]:
        return list(self.get("targets", state="active")["activeTargets"])

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]


@contextmanager
def running(
    folder: Path, port: int, jobs: Sequence[Mapping[str, Any]], rules: Sequence[Path] = ()
) -> Iterator[Prometheus]:
    """Scrape ``jobs``, as in ``scrape_configs``, every two seconds; look at rules as often."""
    often = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"}
    config = {"global": often, "scrape_configs": jobs, "rule_files": [str(path) for path in rules]}
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(config))
    arguments = [
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *arguments], stdout=log, stderr=log)
        try:
            _wait(process, f"http://127.0.0.1:{port}", folder / "prometheus.log")
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        try:
            if httpx.get(f"{url}/-/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
