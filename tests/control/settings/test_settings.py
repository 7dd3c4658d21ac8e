from __future__ import annotations

import re
from pathlib import Path

import pytest

from anabranch.control.settings.settings import Settings
from anabranch.errors import EngineError
from anabranch.serve.edge.crowding import ConnectionLimits


def test_defaults_follow_from_the_home(tmp_path: Path) -> None:
    settings = Settings.from_env({"ANABRANCH_HOME": str(tmp_path)})
    assert settings.store == f"sqlite:///{tmp_path / 'store.db'}"
    assert settings.bundles == tmp_path / "bundles"
    assert settings.token_file == tmp_path / "token"
    assert (settings.url, settings.max_body) == ("http://127.0.0.1:8000", 64 * 2**20)
    assert (settings.grace, settings.prometheus, settings.webhooks) == (600.0, "", ())


def test_variables_override(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {
            "ANABRANCH_HOME": str(tmp_path),
            "ANABRANCH_STORE": "postgresql://db/x",
            "ANABRANCH_HTTP_HOST": "0.0.0.0",
            "ANABRANCH_HTTP_PORT": "9",
            "ANABRANCH_GRPC_PORT": "10",
            "ANABRANCH_MAX_BODY": "10",
            "ANABRANCH_DEPLOY_TIMEOUT": "1.5",
            "ANABRANCH_GRACE": "0",
            "ANABRANCH_MAX_WARM": "0",
            "ANABRANCH_MAX_WARM_MEMORY": "1000000",
            "ANABRANCH_BUNDLE_AGE": "60",
            "ANABRANCH_ENVIRONMENT_AGE": "70",
            "ANABRANCH_MAX_REVISIONS": "5",
            "ANABRANCH_EVENT_AGE": "80",
            "ANABRANCH_MAX_EVENTS": "9",
            "ANABRANCH_PROMETHEUS": "http://prometheus:9090/prefix",
            "ANABRANCH_WEBHOOKS": " https://a/hooks, http://[::1]:9 ,",
            "ANABRANCH_BUNDLE_TOTAL": "1e9",
            "ANABRANCH_ENVIRONMENT_TOTAL": "2e9",
            "ANABRANCH_REVISION_AGE": "3e6",
            "ANABRANCH_LOG_AGE": "9",
            "ANABRANCH_WEBHOOK_FORM": "cloudevents",
            "ANABRANCH_REQUEST_LOGS": "http://a/logs,kafka://b:9092",
        }
    )
    assert (settings.store, settings.max_body) == ("postgresql://db/x", 10)
    assert (settings.url, settings.grpc_port) == ("http://127.0.0.1:9", 10)
    assert (settings.deploy_timeout, settings.grace) == (1.5, 0.0)
    assert (settings.max_warm, settings.max_warm_memory) == (0, 1e6)
    assert (settings.bundle_age, settings.environment_age) == (60.0, 70.0)
    assert (settings.max_revisions, settings.event_age, settings.max_events) == (5, 80.0, 9)
    assert settings.prometheus == "http://prometheus:9090/prefix"
    assert settings.webhooks == ("https://a/hooks", "http://[::1]:9")
    assert (settings.bundle_total, settings.environment_total) == (1e9, 2e9)
    assert (settings.revision_age, settings.logs.age) == (3e6, 9.0)
    assert settings.webhook_form == "cloudevents"
    assert settings.request_logs == ("http://a/logs", "kafka://b:9092")


def test_connections_are_limited_in_all_and_by_source() -> None:
    def limits(**given: str) -> ConnectionLimits:
        return Settings.from_env(
            {f"ANABRANCH_{name}": value for name, value in given.items()}
        ).connections

    assert limits() == ConnectionLimits(4096, 2048)
    assert limits(CONNECTIONS="100") == ConnectionLimits(100, 100)
    assert limits(CONNECTIONS="9000", SOURCE_CONNECTIONS="9000") == ConnectionLimits(9000, 9000)
    with pytest.raises(EngineError, match="ANABRANCH_CONNECTIONS is 15, and must be at least 16"):
        limits(CONNECTIONS="15")
    with pytest.raises(EngineError, match="ANABRANCH_SOURCE_CONNECTIONS is 5000, over the 4096 of"):
        limits(SOURCE_CONNECTIONS="5000")


@pytest.mark.parametrize("value", ["many", "-1", "nan", "inf"])
def test_what_is_not_a_number_is_named(value: str) -> None:
    with pytest.raises(EngineError, match=f"ANABRANCH_MAX_BODY='{value}'"):
        Settings.from_env({"ANABRANCH_MAX_BODY": value})


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "²"])
def test_a_number_of_revisions_is_whole(value: str) -> None:
    with pytest.raises(EngineError, match=f"ANABRANCH_MAX_WARM='{value}' is not a whole number"):
        Settings.from_env({"ANABRANCH_MAX_WARM": value})


@pytest.mark.parametrize(
    "name", ["ANABRANCH_PROMETHEUS", "ANABRANCH_WEBHOOKS", "ANABRANCH_MLFLOW_TRUSTED"]
)
@pytest.mark.parametrize("value", ["prometheus:9090", "ftp://a", "http://u@a", "http://a?b=c", "*"])
def test_what_is_not_a_plain_url_is_named(name: str, value: str) -> None:
    with pytest.raises(EngineError, match=f"{name}: '{re.escape(value)}' is not a URL"):
        Settings.from_env({name: value})


def test_machines_may_be_added_only_where_that_is_said() -> None:
    found = [Settings.from_env({"ANABRANCH_AUTOSCALING": text}).autoscaling for text in "10"]
    assert [*found, Settings.from_env({}).autoscaling] == [True, False, False]
    with pytest.raises(EngineError, match="ANABRANCH_AUTOSCALING='yes' is not 0 or 1"):
        Settings.from_env({"ANABRANCH_AUTOSCALING": "yes"})


def test_protocols_that_there_are_not_are_named() -> None:
    known = "seldon, v1, openai, json, document"
    words = f"ANABRANCH_PROTOCOLS='v3' is not `none`, or protocols out of {known}"
    with pytest.raises(EngineError, match=re.escape(words)):
        Settings.from_env({"ANABRANCH_PROTOCOLS": "v3"})


def test_a_form_of_webhooks_that_is_none_is_named() -> None:
    with pytest.raises(EngineError, match="ANABRANCH_WEBHOOK_FORM='xml' is not json or"):
        Settings.from_env({"ANABRANCH_WEBHOOK_FORM": "xml"})


@pytest.mark.parametrize("value", ["kafka:9092", "kafka://u@a", "file", "ftp://a"])
def test_a_log_goes_to_plain_urls(value: str) -> None:
    with pytest.raises(EngineError, match=f"ANABRANCH_REQUEST_LOGS: '{re.escape(value)}' is not"):
        Settings.from_env({"ANABRANCH_REQUEST_LOGS": value})


def test_what_is_wrong_with_request_logs_is_said_at_once() -> None:
    with pytest.raises(EngineError, match="ANABRANCH_REQUEST_LOG_SIZE='1Gi' is not a size"):
        Settings.from_env({"ANABRANCH_REQUEST_LOG_SIZE": "1Gi"})


@pytest.mark.parametrize("name", ["ANABRANCH_PROMETHEUS", "ANABRANCH_GRAFANA"])
def test_there_is_one_server_of_a_kind(name: str) -> None:
    with pytest.raises(EngineError, match=f"{name} takes one URL, got 2"):
        Settings.from_env({name: "http://a,http://b"})


def test_what_is_wrong_about_models_is_said_at_once() -> None:
    with pytest.raises(EngineError, match=r"ANABRANCH_CACHE_SIZE='20G' is not a size"):
        Settings.from_env({"ANABRANCH_CACHE_SIZE": "20G"})


def test_what_is_wrong_with_traces_is_said_at_once() -> None:
    with pytest.raises(EngineError, match="ANABRANCH_TRACE_RATIO='2'"):
        Settings.from_env({"ANABRANCH_TRACE_RATIO": "2"})


@pytest.mark.parametrize("value", ["/srv/bundles", "https://host/x", "s3://me:pw@bucket/x"])
def test_bundles_go_where_files_can_be_written(value: str) -> None:
    with pytest.raises(EngineError, match=r"ANABRANCH_BUNDLE_STORE=.* is not a URL such as s3://"):
        Settings.from_env({"ANABRANCH_BUNDLE_STORE": value})
    assert Settings.from_env({"ANABRANCH_BUNDLE_STORE": "s3://b/x/"}).bundle_store == "s3://b/x"
