"""Reports on replies of a graph: outputs, revision, request id. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import quantiles
from typing import Any

from anabranch.cli.terminal import table

Json = Mapping[str, Any]


def reply_text(answer: Json) -> str:
    """Return the report on a reply: a line per output, then who answered, and an explanation."""
    rows = [
        (
            output["name"],
            output["datatype"],
            output["shape"],
            json.dumps(output.get("data"), ensure_ascii=False),
        )
        for output in answer.get("outputs", [])
    ]
    outputs = table(("OUTPUT", "DATATYPE", "SHAPE", "DATA"), rows)
    return "\n\n".join([outputs, *filter(None, [_answered(answer)]), *_explanation(answer)])


def accepted_text(accepted: Json) -> str:
    """Return the report on a request that is answered later: its id, and its reply's place.

    A process without an engine keeps no requests: ``accepted`` is the reply itself then.
    """
    if "location" not in accepted:
        return reply_text(accepted)
    return f"request {accepted['id']} is {accepted['state']}; its reply: {accepted['location']}"


def repeated_text(found: Json) -> str:
    """Return the report on many replies: requests and milliseconds by revision, and failures."""
    times: dict[str, list[float]] = defaultdict(list)
    for reply in found["replies"]:
        times[str(reply["revision"] or "-")].append(reply["ms"])
    rows = [
        (revision, len(taken), f"{100 * len(taken) / found['requests']:.1f} %", *_quantiles(taken))
        for revision, taken in sorted(times.items())
    ]
    parts = [table(("REVISION", "REQUESTS", "SHARE", "P50 MS", "P95 MS"), rows)] if rows else []
    if found["failed"]:
        parts.append(
            table(("FAILED", "ERROR"), [(count, text) for text, count in found["errors"].items()])
        )
    return "\n\n".join(parts)


def _answered(answer: Json) -> str:
    facts = {"revision": answer.get("model_version"), "request": answer.get("id")}
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value)


def _explanation(answer: Json) -> Iterator[str]:
    """Yield the explanation that came beside the outputs, or why there is none."""
    found = answer.get("parameters", {})
    if "explanation" in found:
        from anabranch.cli.reports.explanation import explanations_text

        yield explanations_text(json.loads(found["explanation"]))
    if "explanation_error" in found:
        yield f"no explanation: {found['explanation_error']}"


def _quantiles(times: list[float]) -> tuple[str, str]:
    if len(times) == 1:
        return f"{times[0]:.1f}", f"{times[0]:.1f}"
    cuts = quantiles(times, n=20, method="inclusive")
    return f"{cuts[9]:.1f}", f"{cuts[18]:.1f}"
