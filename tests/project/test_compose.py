"""docker-compose.yml and the Dockerfile say what the Compose specification and the engine allow."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from http.server import HTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Thread
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml
from ray.dashboard.modules.metrics import metrics_head as ray_dashboards

from anabranch.cli.app import app
from anabranch.client.connection.engine_state import RAY_TOKEN_FILE
from anabranch.control.engine.joining.join import DRAIN_S
from anabranch.control.nodes.shared import shared_names
from anabranch.telemetry.dashboards import JOBS
from tests.handlers import QuietHandler
from tests.waiting import until

ROOT = Path(__file__).parents[2]
ENGINE = ("head", "worker")
COLLECTOR = ROOT / "deploy" / "otel" / "collector.yml"
CONFIGURATIONS = [
    COLLECTOR,
    ROOT / "deploy" / "prometheus" / "prometheus.yml",
    ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "anabranch.yml",
]
PORTS = {
    "head": {"8000", "8265"},
    "prometheus": {"9090"},
    "grafana": {"3000"},
    "collector": {"4317", "4318"},
    "jaeger": {"4317", "16686"},
}
"""Where the containers listen."""
SCRIPTS = sorted((ROOT / "deploy" / "docker").iterdir())
HEAD = ROOT / "deploy" / "docker" / "anabranch-head"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def instructions(name: str) -> list[str]:
    """Return the arguments of every instruction of that name in the Dockerfile."""
    joined = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(None, 1)[1] for line in joined.splitlines() if line.startswith(name + " ")]


def test_compose_file_follows_the_specification(compose: dict[str, Any]) -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    assert [error.message for error in validator(schema).iter_errors(compose)] == []


def test_the_schema_would_catch_a_mistake(compose: dict[str, Any]) -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    wrong = {**compose, "services": {"head": {"prots": ["8000:8000"]}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json.loads(vendored.read_text()))


def test_the_home_is_the_head_s_alone(compose: dict[str, Any]) -> None:
    homes = {
        name: volume
        for name, service in compose["services"].items()
        for volume in service.get("volumes", ())
        if volume.startswith("home:")
    }
    assert homes == {"head": "home:/data"}
    assert "ANABRANCH_HOME=/data HOME=/data" in instructions("ENV")


def test_a_worker_joins_by_the_token_that_the_head_publishes(compose: dict[str, Any]) -> None:
    readers = {
        name: volume
        for name, service in compose["services"].items()
        for volume in service.get("volumes", ())
        if volume.startswith("tokens:")
    }
    assert readers == {"head": "tokens:/tokens", "worker": "tokens:/tokens:ro"}
    program, *words = compose["services"]["worker"]["command"]
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    given = command.make_context(program, words[1:], resilient_parsing=True).params
    assert given["engine"] == "http://head:8000" and given["foreground"] is True
    file = words[words.index("--token-file") + 1]
    assert f'install -m 600 "$ANABRANCH_HOME/token" {file}\n' in HEAD.read_text()


def test_engines_write_to_volumes_alone_as_an_ordinary_user(compose: dict[str, Any]) -> None:
    for name in ENGINE:
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["user"] == "1000:1000"
        (tmp,) = service["tmpfs"]
        assert tmp.split(":")[0] == "/tmp" and "noexec" not in tmp


def test_only_loopback_is_published(compose: dict[str, Any]) -> None:
    published = [port for one in compose["services"].values() for port in one.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)


def test_services_have_no_rights_and_one_version(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"]), name


def test_what_is_mounted_is_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).exists(), volume
            assert source in compose["volumes"] or volume.endswith(":ro"), volume


def test_addresses_within_are_those_of_services(compose: dict[str, Any]) -> None:
    found = re.findall(r"http://([a-z]+):(\d+)", json.dumps(compose))
    for path in CONFIGURATIONS:
        found += re.findall(r"\b([a-z]+):(\d{4,5})\b", path.read_text())
    assert found
    for name, port in found:
        assert port in PORTS[name], (name, port)
    assert set(compose["services"]) >= set(PORTS)


def test_the_engine_sends_its_spans_to_the_collector(compose: dict[str, Any]) -> None:
    place = compose["services"]["head"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in shared_names({"OTEL_EXPORTER_OTLP_ENDPOINT": place})
    receiver = yaml.safe_load(COLLECTOR.read_text())["receivers"]["otlp"]["protocols"]["http"]
    assert place.rpartition(":")[2] == receiver["endpoint"].rpartition(":")[2]


def test_the_collector_s_pipelines_are_made_of_what_is_defined() -> None:
    config = yaml.safe_load(COLLECTOR.read_text())
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) == set(config[kind])


def test_grafana_finds_dashboards_where_they_are_mounted(compose: dict[str, Any]) -> None:
    mounted = {volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]}
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    providers = yaml.safe_load((provisioning / "dashboards" / "anabranch.yml").read_text())
    assert {one["options"]["path"] for one in providers["providers"]} <= mounted
    sources = yaml.safe_load((provisioning / "datasources" / "anabranch.yml").read_text())
    known = {one["uid"] for one in sources["datasources"]}
    for source in sources["datasources"]:
        for link in source.get("jsonData", {}).get("exemplarTraceIdDestinations", ()):
            assert link["datasourceUid"] in known


def test_grafana_knows_how_often_prometheus_scrapes() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    path = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "anabranch.yml"
    source = yaml.safe_load(path.read_text())["datasources"][0]
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    assert source["name"] == ray_dashboards.DEFAULT_PROMETHEUS_NAME
    assert {job["job_name"] for job in prometheus["scrape_configs"]} == set(JOBS.values())


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool of the package prometheus is not installed"
)
def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus", str(ROOT / "deploy" / "prometheus")))
    (tmp_path / "discovery").mkdir()
    (tmp_path / "discovery" / "anabranch-key").write_text("key")
    done = subprocess.run(
        ["promtool", "check", "config", "--lint-fatal", config], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout


def test_prometheus_shows_ray_the_token_and_grafana_cannot_read_it(
    compose: dict[str, Any],
) -> None:
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (ray,) = [job for job in prometheus["scrape_configs"] if job["job_name"] == JOBS["ray"]]
    (found,) = ray["http_sd_configs"]
    assert found["authorization"] == {"credentials_file": f"discovery/{RAY_TOKEN_FILE}"}
    head = next(script for script in SCRIPTS if script.name == "anabranch-head").read_text()
    assert f'-m 640 "$ANABRANCH_HOME/{RAY_TOKEN_FILE}" /discovery/{RAY_TOKEN_FILE}' in head
    (own,) = [job for job in prometheus["scrape_configs"] if job["job_name"] == JOBS["gateway"]]
    assert own["authorization"] == {"credentials_file": "discovery/anabranch-key"}
    assert "anabranch keys create prometheus --role viewer" in head
    readers = {
        name
        for name, service in compose["services"].items()
        if any(volume.startswith("discovery:") for volume in service.get("volumes", ()))
    }
    assert readers == {"head", "prometheus"}
    assert compose["services"]["prometheus"]["group_add"] == ["1000"]


def test_image_runs_as_an_ordinary_user() -> None:
    assert instructions("USER") == ["anabranch"]
    assert instructions("HEALTHCHECK") and "/v2/health/ready" in instructions("HEALTHCHECK")[0]


class Ready(QuietHandler):
    """Answers as an engine that is ready."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/v2/health/ready" else 404)
        self.send_header("content-length", "0")
        self.end_headers()


class NotReady(Ready):
    status = 503


@pytest.mark.parametrize("engine", [Ready, NotReady, None], ids=["ready", "not ready", "hung"])
def test_a_container_is_healthy_while_its_engine_is_ready(engine: type[Ready] | None) -> None:
    (text,) = instructions("HEALTHCHECK")
    python, *words = json.loads(text.partition(" CMD ")[2])
    with HTTPServer(("127.0.0.1", 0), engine or Ready) as server:
        address = f"127.0.0.1:{server.server_port}"
        words = [word.replace("127.0.0.1:8000", address) for word in words]
        assert python == "python" and address in words[-1]
        command = [sys.executable, *words]
        if engine is None:
            assert subprocess.run(command, capture_output=True).returncode != 0
            return
        Thread(target=server.serve_forever, args=(0.01,)).start()
        found = subprocess.run(command, capture_output=True).returncode
        server.shutdown()
    assert (found == 0) is (engine is Ready)


def test_image_copies_what_is_there_and_not_ignored() -> None:
    let_in = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for copied in instructions("COPY"):
        for source in shlex.split(copied)[:-1]:
            assert (ROOT / source).exists(), source
            assert source in let_in or str(Path(source).parent) in let_in, source


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_copied_executable_and_well_formed(script: Path) -> None:
    assert any(script.name in copied for copied in instructions("COPY"))
    assert script.stat().st_mode & 0o111 == 0o111
    subprocess.run(["sh", "-n", script], check=True)


@pytest.fixture
def container(tmp_path: Path) -> dict[str, str]:
    """The environment of a head whose ``anabranch`` ends with the code that a file holds."""
    programs = tmp_path / "bin"
    programs.mkdir()
    engine = (
        '[ "$1" = up ] || exit 0\n'
        "trap 'exit 0' TERM\ntouch up\nuntil [ -s code ]; do sleep 0.05; done\nexit $(cat code)"
    )
    for name, text in {"anabranch": engine, "install": "touch installed"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    (tmp_path / RAY_TOKEN_FILE).write_text("secret")
    return {"PATH": f"{programs}:{os.defpath}", "ANABRANCH_HOME": str(tmp_path)}


def test_a_container_that_is_stopped_ends_in_order(
    container: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen([HEAD], env=container, cwd=tmp_path) as head:
        until(lambda: (tmp_path / "up").exists() and (tmp_path / "installed").exists())
        head.terminate()
        assert head.wait(60) == 0


def test_a_container_ends_with_the_code_of_its_engine(
    container: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen([HEAD], env=container, cwd=tmp_path) as head:
        until(lambda: (tmp_path / "up").exists())
        (tmp_path / "code").write_text("1")
        assert head.wait(60) == 1


def test_systemd_takes_the_unit_and_its_command_is_there() -> None:
    unit = (ROOT / "deploy" / "systemd" / "anabranch.service").read_text()
    assert "Type=notify\n" in unit and "Restart=on-failure\n" in unit
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert command.split()[1:] == ["up", "--foreground"]


def test_systemd_takes_the_unit_of_a_machine_too() -> None:
    unit = (ROOT / "deploy" / "systemd" / "anabranch-join.service").read_text()
    assert "Type=notify\n" in unit and "Restart=on-failure\n" in unit
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    words = command.split()
    assert (words[1], words[3], words[5]) == ("join", "--token-file", "--foreground")
    (patience,) = re.findall(r"^TimeoutStopSec=(.*)$", unit, re.MULTILINE)
    assert float(patience) > DRAIN_S


def test_the_head_s_command_is_the_script(compose: dict[str, Any]) -> None:
    assert compose["services"]["head"]["command"] == [HEAD.name]
