"""What a machine that joins has of the engine's environment, and what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState
from anabranch.control.engine.launch import EngineOptions, environment
from anabranch.control.engine.ports import claim
from anabranch.control.nodes.shared import SHARED, shared_names, shared_values
from anabranch.serve.sockets import FOLDER
from anabranch.serve.workers.environment import MARK
from anabranch.serve.workers.launcher import HOOK, ZYGOTE


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of an engine that other machines may join."""
    for name, value in {
        "ANABRANCH_GRACE": "30",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://traces:4317",
        "MLFLOW_TRACKING_URI": "http://models:5000",
        "RAY_metrics_report_interval_ms": "5000",
        "PIP_INDEX_URL": "https://packages/simple",
        "PIP_CACHE_DIR": "/var/cache/pip",
        "ANABRANCH_STORE": "postgresql://user:secret@store/db",
        "ANABRANCH_TOKEN": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "RAY_ADDRESS": "elsewhere:6379",
        "RAY_CLOUD_INSTANCE_ID": "the-head-s-pod",
        "RAY_NODE_TYPE_NAME": "headgroup",
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_KEY": "/the/head/s/key",
    }.items():
        monkeypatch.setenv(name, value)
    block = claim("shared")
    block.guard.close()
    state = EngineState("id", "", "", "", "127.0.0.1:13001", str(tmp_path))
    options = EngineOptions(http_host="0.0.0.0", http_port=8123)
    return environment(tmp_path, options, state, block, lambda text: None)


def test_settings_go_to_all_machines(env: dict[str, str]) -> None:
    shared = shared_values(env)
    for name, value in {
        "ANABRANCH_GRACE": "30",
        "ANABRANCH_HTTP_PORT": "8123",
        "ANABRANCH_LOOPBACK": "0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://traces:4317",
        "MLFLOW_TRACKING_URI": "http://models:5000",
        "PIP_INDEX_URL": "https://packages/simple",
        "RAY_metrics_report_interval_ms": "5000",
        "RAY_AUTH_MODE": "token",
        "RAY_USE_TLS": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "86400",
        HOOK: "anabranch.control.engine.loopback.keep_loopback",
    }.items():
        assert shared[name] == value


def test_paths_addresses_and_secrets_stay_where_they_are(env: dict[str, str]) -> None:
    own = {
        MARK, FOLDER, ZYGOTE, SHARED, "PATH", "PYTHONPATH", "TMPDIR", "ANABRANCH_HOME",
        "PIP_CACHE_DIR", "ANABRANCH_HTTP_HOST", "ANABRANCH_STORE", "RAY_AUTH_TOKEN_PATH",
        "DASHBOARD_METRIC_PORT", "RAY_CLOUD_INSTANCE_ID", "RAY_NODE_TYPE_NAME",
        "RAY_TLS_SERVER_KEY",
    }  # fmt: skip
    assert own <= env.keys()
    shared = shared_values(env)
    assert not own & shared.keys()
    assert "secret" not in shared.values() and "RAY_ADDRESS" not in shared
    assert not [value for value in shared.values() if env["ANABRANCH_HOME"] in value]


def test_what_ray_adds_to_a_process_is_not_handed_on(env: dict[str, str]) -> None:
    """A process of Ray's has variables of its own, which are named like flags."""
    assert "RAY_JOB_ID" not in shared_values({**env, "RAY_JOB_ID": "01000000"})


def test_an_engine_of_one_machine_has_nothing_to_hand_on() -> None:
    assert shared_values({"ANABRANCH_GRACE": "30"}) == {}
    assert shared_names({"PATH": "/bin", "HOME": "/"}) == ""
