"""Reports on graphs, from the JSON of the engine and the compiler. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from anabranch.cli.reports.traffic import (
    arms_text,
    feedback_text,
    local,
    mirrors_text,
    percent,
    rollout_text,
)
from anabranch.cli.terminal import counted, table
from anabranch.components.artefacts.pins import shown_pin
from anabranch.components.artefacts.uris import redacted
from anabranch.specs.units import Size

Json = dict[str, Any]
_DIGEST = 12
"""Digits of a digest that are printed."""


def plan_text(plan: Json, changes: Sequence[str] | None) -> str:
    """Return the report on a plan; ``changes`` is None without a running engine."""
    hops = plan["critical_path_hops"]
    segments = [
        (
            segment["name"],
            ", ".join(segment["nodes"]),
            segment.get("model") or _flat(segment["resources"], " "),
            _flat(segment["placement"], ": "),
        )
        for segment in plan["segments"]
    ]
    pool = plan.get("pool")
    place = "" if pool is None else f", in the process of pool {pool}"
    lines = [
        f"{plan['name']}: {counted(len(segments), 'segment')}, "
        f"{counted(hops, 'hop')} on the critical path{place}",
        "",
        _segments_table(segments),
        *_budgets(plan),
    ]
    explainers = [
        (
            name,
            node["explains"]["node"] or "the whole graph",
            ", ".join(node["explains"]["copies"]) or "-",
            ", ".join(node["explains"]["calls"]) or "-",
        )
        for name, node in plan["nodes"].items()
        if "explains" in node
    ]
    if explainers:
        lines += ["", table(("EXPLAINER", "EXPLAINS", "HAS COPIES OF", "CALLS"), explainers)]
    monitors = [
        (name, one["method"], ", ".join(one["watches"]), f"{one['window']} rows")
        for name, one in plan.get("monitors", {}).items()
    ]
    if monitors:
        lines += ["", table(("MONITOR", "METHOD", "WATCHES", "WINDOW"), monitors)]
    if plan["warnings"]:
        lines += ["", *(f"warning: {warning}" for warning in plan["warnings"])]
    if changes is not None:
        lines += [
            "",
            "changes to the stable revision:",
            *(f"  {change}" for change in changes or ["no change"]),
        ]
    return "\n".join(lines)


def _budgets(plan: Json) -> Iterator[str]:
    """Yield a line for each budget: its sum over all replicas, and who has none."""
    for field, size in plan.get("budgets", {}).items():
        sizes = dict.fromkeys(str(Size(size[end])) for end in ("min", "max"))
        without = [
            one["name"]
            for one in plan["segments"]
            if field == "memory"
            and one["nodes"]
            and not one.get("model")
            and field not in (one["resources"] or {})
        ]
        rest = f"; without a budget: {', '.join(without)}" if without else ""
        yield f"{field} of all replicas: {' to '.join(sizes)}{rest}"


def _segments_table(segments: Sequence[tuple[str, ...]]) -> str:
    """Return the table of segments; machines are left out where no segment asks for any."""
    heads = ("SEGMENT", "NODES", "RESOURCES", "MACHINES")
    size = 4 if any(row[3] for row in segments) else 3
    return table(heads[:size], [row[:size] for row in segments])


def status_text(found: Json) -> str:
    """Return the report on all graphs, or on one graph with its traffic and its revisions."""
    if "graphs" in found:
        rows = [
            (graph["graph"], graph["live"], graph["state"], graph["url"])
            for graph in found["graphs"]
        ]
        graphs = table(("GRAPH", "REVISION", "STATE", "URL"), rows) if rows else "no graphs"
        troubles = _unfollowed(found["graphs"])
        return "\n\n".join(filter(None, (graphs, troubles, _quotas(found["namespaces"]))))
    return "\n\n".join(part for part in _graph_parts(found) if part)


def _unfollowed(graphs: Sequence[Json]) -> str:
    """Return the watched models that cannot be followed; empty without any."""
    rows = [
        (graph["graph"], one["model"], _trouble(one))
        for graph in graphs
        for one in graph.get("unfollowed", ())
    ]
    return table(("GRAPH", "DOES NOT FOLLOW", "TROUBLE"), rows) if rows else ""


def _quotas(namespaces: Sequence[Json]) -> str:
    """Return the use of namespaces that have a quota, and the limits; empty without any."""
    limited = [one for one in namespaces if one["limits"]]
    if not limited:
        return ""
    names = list(limited[0]["use"])
    rows = [(one["namespace"], *(_of_limit(one, name) for name in names)) for one in limited]
    return table(("NAMESPACE", *map(str.upper, names)), rows)


def _of_limit(namespace: Json, name: str) -> str:
    amounts = (namespace[key].get(name) for key in ("use", "limits"))
    say = (lambda amount: str(Size(amount))) if name == "memory" else "{:g}".format
    return " of ".join(say(amount) for amount in amounts if amount is not None)


def _graph_parts(found: Json) -> Iterator[str]:
    """Yield the sections on a graph, the most urgent first; some may be empty."""
    yield f"{found['graph']} is {found['state']} at {found['url']}{_carried(found)}"
    yield found.get("obstacle", "")
    yield arms_text(found["arms"]) if found["arms"] else ""
    yield feedback_text(found["arms"])
    yield mirrors_text(found["mirrors"]) if found["mirrors"] else ""
    yield rollout_text(found["rollout"], datetime.now(UTC)) if _matters(found) else ""
    yield _watches_text(found.get("watches", ()))
    yield _segments_text(found["segments"])
    yield _sharing_text(found)
    revisions = [
        (f"r{one['revision']}", one["state"], one["author"], one["message"], one["reason"])
        for one in found["revisions"]
    ]
    yield table(("REVISION", "STATE", "AUTHOR", "MESSAGE", "REASON"), revisions)


def _watches_text(watches: Sequence[Json]) -> str:
    """Return the watched models: what is in force, what was found and when; empty without any."""
    rows = [
        (
            one["model"], ", ".join(one["nodes"]), _pin(one["pin"]), _pin(one["found"] or ""),
            _ago(one["looked_at"]), _trouble(one),
        )
        for one in watches
    ]  # fmt: skip
    heads = ("WATCHES", "NODES", "STABLE HAS", "FOUND", "LOOKED", "TROUBLE")
    size = len(heads) if any(row[-1] for row in rows) else len(heads) - 1
    return table(heads[:size], [row[:size] for row in rows]) if rows else ""


def _trouble(watch: Json) -> str:
    if not watch["trouble"]:
        return ""
    return f"{watch['trouble']} (since {_clock(watch['since'])})"


def _ago(at: str | None) -> str:
    if at is None:
        return "not yet"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()
    return f"{max(0, round(seconds))}s ago" if seconds < 600 else f"at {_clock(at)}"


def _clock(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone():%H:%M:%S}"


def _pin(pin: str) -> str:
    """Return a version alone, or the first digits of the mark or digest of a file."""
    return shown_pin(pin) if pin else "-"


def _sharing_text(found: Json) -> str:
    """Return the shared models that a graph uses, or the graphs that use a shared model."""
    lines = [f"uses {one}" for one in found.get("models", ())]
    users = [*found.get("users", ())]
    if hidden := found.get("hidden_users"):
        users.append(f"{hidden} that you may not view")
    return "\n".join([*lines, *(f"used by {one}" for one in users)])


def _segments_text(segments: Sequence[Json]) -> str:
    """Return the segments, and which of them are down since when; empty without any."""
    headings = ["SEGMENT", "NODES", "REPLICAS"]
    rows = [[one["name"], ", ".join(one["nodes"]), _replicas(one)] for one in segments]
    if any(one.get("down_since") for one in segments):
        headings.append("STATE")
        for row, one in zip(rows, segments, strict=True):
            row.append(_down_text(one))
    return table(headings, rows) if rows else ""


def _down_text(segment: Json) -> str:
    if not segment["down_since"]:
        return ""
    reason = f" ({segment['reason']})" if segment["reason"] else ""
    return f"down since {_clock(segment['down_since'])}{reason}"


def _replicas(segment: Json) -> str:
    running = f"{segment['running']}/{segment['replicas']}"
    if not segment["waiting"]:
        return running
    return f"{running}; {segment['waiting']} waiting for {segment['waits_for']}"


def _matters(found: Json) -> bool:
    """Return whether a rollout is in progress, or its candidate is still up."""
    rollout = found["rollout"]
    if rollout is None or rollout["phase"] in ("running", "paused"):
        return rollout is not None
    states = {one["revision"]: one["state"] for one in found["revisions"]}
    return states.get(rollout["revision"]) in ("warm", "ready")


def _carried(found: Json) -> str:
    """Return a note while routers do not carry the stable revision, since requests then hop."""
    if found["live"] is None or found["inlined"] == found["live"]:
        return ""
    return f"; its routers do not carry r{found['live']} yet"


def outcome_text(done: Json, graph: Json) -> tuple[str, str]:
    """Return the outcome of a deploy, and the next commands, empty where there are none."""
    name, number = done["graph"], done["revision"]
    already = "" if done["new"] else "this already, and "
    text = f"{name} revision {number} is {already}{done['state']}"
    if done["state"] != "ready":
        return text, "" if done["new"] else "`--force` makes a new revision of the same content"
    rollout = graph["rollout"]
    if rollout is not None and rollout["revision"] == number:
        step = f"step {rollout['step']} of {len(rollout['steps'])}: {percent(rollout['weight'])}"
        return f"{text} in a rollout, {step} of the traffic", (
            f"next: `anabranch status {name} --watch`, or `anabranch rollout {name} pause`, "
            "`promote` or `abort`"
        )
    mirrors = {one["revision"]: one["percent"] for one in graph["mirrors"]}
    if number in mirrors:
        return f"{text} and gets a copy of {percent(mirrors[number])} of the requests", (
            f"next: `anabranch compare {name}`, then `anabranch promote {name} r{number}` or "
            f"`anabranch traffic {name} --mirror r{number}=0`"
        )
    share = next((arm["share"] for arm in graph["arms"] if arm["revision"] == number), 0.0)
    return f"{text} with {percent(share)} of the traffic", (
        f"next: `anabranch status {name}`, then `anabranch promote {name} r{number}` or "
        f"`anabranch abort {name}`"
    )


def history_text(history: Json) -> str:
    """Return the table of a graph's revisions, in the given order."""
    text = _revisions_text(history["revisions"])
    if history["state"] != "deleted":
        return text
    return f"{text}\nthe graph was deleted; `anabranch rollback {history['graph']}` brings it back"


def _revisions_text(revisions: Sequence[Json]) -> str:
    rows = [
        (
            f"r{one['revision']}", one["state"], local(one["created_at"]), one["author"],
            one["digest"][:_DIGEST], one["message"],
        )
        for one in revisions
    ]  # fmt: skip
    heads = ("REVISION", "STATE", "DEPLOYED", "AUTHOR", "DIGEST", "MESSAGE")
    if not any(one.get("pins", {}) for one in revisions):
        return table(heads, rows)
    models = [_models(one.get("pins", {})) for one in revisions]
    return table((*heads, "MODELS"), [(*row, text) for row, text in zip(rows, models, strict=True)])


def _models(pins: Mapping[str, str]) -> str:
    """Return what references to models meant, such as ``m@champion = 3``."""
    return ", ".join(
        f"{redacted(reference).removeprefix('models:/')} = {shown_pin(fixed)}"
        for reference, fixed in sorted(pins.items())
    )


def difference_text(found: Json) -> str:
    """Return the report on the differences between two revisions."""
    sections = {"spec": found["spec"], "plan": found["plan"], "files": found["files"]}
    if found["models"]:
        sections["models"] = found["models"]
    lines = [f"{found['graph']} r{found['from']} -> r{found['to']}"]
    for name, changes in sections.items():
        lines += [f"{name}:", *(f"  {change}" for change in changes or ["no change"])]
    return "\n".join([*lines, *(["", found["text"]] if found["text"] else [])])


def _flat(asked: Mapping[str, Any] | None, between: str) -> str:
    """Return what a segment asks for in one line, what is named by the user beside the rest."""
    flat: dict[str, Any] = {}
    for name, value in (asked or {}).items():
        flat |= value if isinstance(value, dict) else {name: value}
    return ", ".join(f"{name}{between}{value}" for name, value in flat.items())
