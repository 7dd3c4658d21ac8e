"""Other pages about the engine, as far as there are any."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from anabranch.access.identity import TOKEN
from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.control.api.endpoints import ApiCall
from anabranch.control.api.links import LinkApi
from anabranch.control.settings.settings import Settings
from anabranch.telemetry.dashboards import dashboard_files


def links(home: Path, **variables: str) -> Any:
    settings = Settings.from_env({"ANABRANCH_HOME": str(home), **variables})
    endpoint = LinkApi(settings).routes["/links"]["GET"]
    status, _, body = asyncio.run(endpoint.endpoint(ApiCall("", 0, "", {}, b"", TOKEN)))
    assert status == 200
    return json.loads(body)


def test_pages_that_are_not_there_are_null(tmp_path: Path) -> None:
    assert links(tmp_path) == {"ray": None, "grafana": None}


def test_rays_dashboard_and_grafana(tmp_path: Path) -> None:
    ray = "http://127.0.0.1:8265"
    write_state(tmp_path, EngineState("id", "http://a", "a:1", ray, "a:2", "", 1, ready=True))
    found = links(tmp_path, ANABRANCH_GRAFANA="http://127.0.0.1:3000/below/")
    assert found["ray"] == ray
    for name, url in found["grafana"].items():
        exported = json.loads(
            dashboard_files("gateway")[f"grafana/dashboards/anabranch-{name}.json"]
        )
        assert url == f"http://127.0.0.1:3000/below/d/{exported['uid']}"
        assert "graph" in {one["name"] for one in exported["templating"]["list"]}
    assert {"overview", "graph", "rollout"} == set(found["grafana"])
