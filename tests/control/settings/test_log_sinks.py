from __future__ import annotations

import pytest

from anabranch.control.settings import log_sinks
from anabranch.errors import InvalidRequest
from anabranch.specs.models import RequestLog, Telemetry


def log(to: str, **fields: str) -> RequestLog:
    return RequestLog.model_validate({"to": to, **fields})


PREFIXES = ("http://sink/logs", "kafka://broker:9092", "https://other")


@pytest.mark.parametrize(
    "to",
    ["file", "http://sink/logs/digits?key=1", "kafka://broker/digits", "kafka://broker:9092/a.b"],
)
def test_what_is_allowed_is_kept(to: str) -> None:
    pytest.importorskip("confluent_kafka")
    log_sinks.check(log(to), PREFIXES)
    telemetry = Telemetry(requests=log(to))
    assert log_sinks.permitted(telemetry, PREFIXES) is telemetry


@pytest.mark.parametrize(
    "to",
    ["http://sink/log", "http://broker:9092/digits", "kafka://broker:9093/digits", "http://sink"],
)
def test_what_is_not_allowed_is_refused_and_left_out(to: str) -> None:
    pytest.importorskip("confluent_kafka")
    with pytest.raises(InvalidRequest) as raised:
        log_sinks.check(log(to), PREFIXES)
    assert str(raised.value) == (
        f"telemetry.requests.to: {to!r} is not below what ANABRANCH_REQUEST_LOGS allows: "
        "http://sink/logs, kafka://broker:9092, https://other"
    )
    telemetry = log_sinks.permitted(Telemetry(requests=log(to), trace=None), PREFIXES)
    assert telemetry == Telemetry()


def test_a_secret_in_a_query_is_not_shown() -> None:
    with pytest.raises(InvalidRequest) as raised:
        log_sinks.check(log("http://else/?key=secret"), ())
    assert "secret" not in str(raised.value)
    assert "allows: nothing" in str(raised.value)


def test_what_a_log_takes_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidRequest, match=r"for kafka the engine needs confluent_kafka: pip"):
        log_sinks.check(log("kafka://broker/x"), PREFIXES)
    with pytest.raises(InvalidRequest, match=r"for parquet .*pip install 'anabranch\[parquet\]'"):
        log_sinks.check(log("file", format="parquet"), ())


def test_no_log_is_no_problem() -> None:
    log_sinks.check(None, ())
    assert log_sinks.permitted(Telemetry(), ()) == Telemetry()
