"""docker-compose.yml and the Dockerfile say what the Compose specification and the engine allow."""

from __future__ import annotations

import json
import shlex
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from anabranch.control import flags, ports

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "deploy" / "docker").iterdir())


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


def test_head_and_worker_share_the_home(compose: dict[str, Any]) -> None:
    homes = [service["volumes"][0] for service in compose["services"].values()]
    assert homes == ["home:/data", "home:/data"]
    assert "ANABRANCH_HOME=/data" in instructions("ENV")


def test_only_loopback_is_published(compose: dict[str, Any]) -> None:
    published = [port for one in compose["services"].values() for port in one.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)


def test_worker_has_the_flags_of_the_head(compose: dict[str, Any]) -> None:
    block = ports.claim("compose")
    block.guard.close()
    head = flags.base_environment("engine", block, loopback=False)
    head |= flags.serve_environment(block)
    head |= flags.haproxy_environment(Path("/r"), Path("/h"), block)
    worker = compose["services"]["worker"]["environment"]
    assert worker == {name: head.get(name) for name in worker}


def test_image_runs_as_an_ordinary_user() -> None:
    assert instructions("USER") == ["anabranch"]
    assert instructions("HEALTHCHECK") and "/v2/health/ready" in instructions("HEALTHCHECK")[0]


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


def test_commands_are_the_scripts(compose: dict[str, Any]) -> None:
    commands = {service["command"][0] for service in compose["services"].values()}
    assert commands == {script.name for script in SCRIPTS}
