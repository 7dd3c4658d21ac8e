"""The service orchestrator of a predictor: its variables and resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.importers.fields import Fields

_TRACING = "TRACING"
_ROUTING = "SELDON_ENABLE_ROUTING_INJECTION"
_COLLECTOR = "set OTEL_EXPORTER_OTLP_ENDPOINT for the engine, whose traces are OpenTelemetry's"
_REASONS: Mapping[str, str] = {
    "SELDON_LOG_LEVEL": "`anabranch logs` has the lines of all processes",
    "LOG_LEVEL": "`anabranch logs` has the lines of all processes",
}


def note_orchestrator(predictor: Fields, separate: bool) -> dict[str, Any]:
    """Note ``svcOrchSpec``; return the fields of ``telemetry`` that its variables mean."""
    spec = predictor.within("svcOrchSpec")
    telemetry: dict[str, Any] = {}
    for entry in spec.each("env"):
        name, value = entry.required("name"), entry.text("value")
        if name == _TRACING and value not in ("", "0"):
            telemetry["trace"] = "100%"
            entry.reworded("`telemetry.trace: 100%`")
        elif name == _ROUTING and value:
            entry.reworded("the chosen routes come back in `meta.routing`")
        elif name.startswith("JAEGER_"):
            entry.left_out(_COLLECTOR)
        elif name.startswith("KAFKA_"):
            entry.left_out("graphs answer requests; no topic of Kafka is read")
        else:
            entry.left_out(_REASONS.get(name, "a variable of Seldon's orchestrator"))
    if separate and spec.whole("replicas") is not None:
        spec.same("`scaling` of the graph", "replicas")
    elif not separate:
        spec.leave_out({"replicas": "Seldon reads it only where the engine has a pod of its own"})
    spec.leave_out({"resources": "routers share the machine; `scaling` says how many there are"})
    spec.finish()
    return telemetry
