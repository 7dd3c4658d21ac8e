"""Writes the rows of a request log as a training set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anabranch.client.features.logged_rows import (
    LogColumn,
    LoggedRow,
    NotARow,
    RowFilter,
    batches,
    rows_of,
)
from anabranch.client.features.past import PastLookup
from anabranch.client.features.tables import (
    arrow_module,
    arrow_type,
    check_format,
    read_labels,
    written,
)
from anabranch.errors import InvalidRequest
from anabranch.router.request_log.events import LogEvent, LoggedReward

BATCH = 2000
"""Rows that are looked up and written together."""
REWARD, TRUTH = "feedback.reward", "feedback.truth"
LABEL = "label."
"""Before the names of columns of labels."""
Events = Iterable[LogEvent | None]
Say = Callable[["ExportTally"], None]


@dataclass
class ExportTally:
    """Counts of an export, or of a comparison, so far."""

    rows: int = 0
    requests: int = 0
    unlabelled: int = 0
    """Rows without a label, which were left out."""
    skipped: Counter[NotARow] = field(default_factory=Counter)


def logged(
    events: Events, wanted: RowFilter, columns: Sequence[LogColumn], tally: ExportTally
) -> Iterator[LoggedRow]:
    """Yield the rows of events, and count both."""
    for event in events:
        found = rows_of(event, wanted, columns)
        if isinstance(found, str):
            tally.skipped[found] += 1
            continue
        tally.requests += 1
        yield from found


async def export(
    events: Events,
    wanted: RowFilter,
    columns: Sequence[LogColumn],
    past: Sequence[PastLookup],
    file: Path,
    labels: Path | None = None,
    rewards: Mapping[str, LoggedReward] | None = None,
    say: Say = lambda tally: None,
) -> ExportTally:
    """Write a row for each logged row, to a file that appears whole.

    Outputs of ``past`` are those of the past, in place of those in the log. With ``labels`` only
    rows that have some are written; ``rewards`` by id are beside the rows of their requests.
    Raises InvalidRequest, NodeError, Unavailable.
    """
    check_format(file)
    tally = ExportTally()
    more, by_id = (None, None) if labels is None else read_labels(labels)
    with written(file, _schema(columns, past, more, rewards is not None)) as table:
        for part in batches(logged(events, wanted, columns, tally), BATCH):
            kept = [row for row in part if by_id is None or row.id in by_id]
            tally.unlabelled += len(part) - len(kept)
            if kept:
                table.write(await _written(kept, past, by_id, rewards))
            tally.rows += len(kept)
            say(tally)
    return tally


def _schema(
    columns: Sequence[LogColumn], past: Sequence[PastLookup], labels: Any, has_rewards: bool
) -> Any:
    arrow = arrow_module()
    fields = {
        "id": arrow.string(),
        "row": arrow.int32(),
        "time": arrow.timestamp("us", tz="UTC"),
        "revision": arrow.int32(),
    }
    every = [*columns, *(column for lookup in past for column in lookup.columns)]
    fields |= {column.name: arrow_type(column) for column in every}
    if has_rewards:
        fields |= {REWARD: arrow.float64(), TRUTH: arrow.string()}
    if labels is not None:
        fields |= {f"{LABEL}{field.name}": field.type for field in labels}
    return arrow.schema(list(fields.items()))


async def _written(
    rows: Sequence[LoggedRow],
    past: Sequence[PastLookup],
    labels: Mapping[str, Mapping[str, Any]] | None,
    rewards: Mapping[str, LoggedReward] | None,
) -> list[dict[str, Any]]:
    found = [
        {"id": row.id, "row": row.row, "time": row.time, "revision": row.revision, **row.values}
        for row in rows
    ]
    for lookup in past:
        for each, values in zip(found, await lookup.values(rows), strict=True):
            each.update(values)
    for each in found if rewards is not None else ():
        each.update(_feedback((rewards or {}).get(each["id"]), each["row"]))
    for each in found if labels is not None else ():
        given = labels[each["id"]] if labels is not None else {}
        each.update({f"{LABEL}{name}": value for name, value in given.items()})
    return found


def _feedback(reward: LoggedReward | None, row: int) -> dict[str, Any]:
    """Return the reward of a row's request, and the right label of the row as text."""
    if reward is None:
        return {}
    labels = reward.truth or []
    return {REWARD: reward.reward, TRUTH: str(labels[row]) if row < len(labels) else None}


def rewards_of(rewards: Iterable[LoggedReward], graph: str) -> dict[str, LoggedReward]:
    """Return the rewards of a graph by the id of the request; the first one counts."""
    found: dict[str, LoggedReward] = {}
    for reward in rewards:
        if reward.graph == graph:
            found.setdefault(reward.id, reward)
    return found


def check_any(tally: ExportTally, graph: str) -> None:
    """Raise InvalidRequest where there was no row, with the reasons."""
    if tally.rows:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in tally.skipped.items())
    if tally.unlabelled:
        reasons = ", ".join(filter(None, (reasons, f"{tally.unlabelled} rows without a label")))
    raise InvalidRequest(f"the log has no row of graph {graph!r} ({reasons or 'it is empty'})")
