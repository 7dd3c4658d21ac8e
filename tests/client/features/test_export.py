"""Training sets: what was served, and what the past has, are the same rows."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from anabranch.cli.app import app
from anabranch.client.features.export import export
from anabranch.client.features.logged_rows import RowFilter, columns_of
from anabranch.client.features.past import lookups_of, open_past, opened
from anabranch.components.features.keys import Key
from anabranch.components.features.stores import StoredRows
from anabranch.components.features.threads import ThreadedStore
from anabranch.errors import InvalidRequest, LoadError, NodeError
from anabranch.graph.compile.loading import open_graph
from anabranch.router.request_log.entries import LogRule, RewardLogEntry
from anabranch.router.request_log.events import encode
from anabranch.router.request_log.parquet import convert
from anabranch.router.request_log.reading import log_files, read
from tests.client.features.feature_log import START, FeatureLog, grown

parquet = pytest.importorskip("pyarrow.parquet")
AGES = [-1, -1, 30, 40, 31, -1, 32]


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["features", *words], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return f"{done.exit_code} {done.stdout}"


def exported(log: FeatureLog, *words: str) -> list[dict[str, Any]]:
    target = log.spec.with_name("train.parquet")
    run("export", str(log.spec), "--from", str(log.log), "-o", str(target), *words)
    found: list[dict[str, Any]] = parquet.read_table(target).to_pylist()
    return found


def test_rows_hold_inputs_features_and_outputs(tmp_path: Path) -> None:
    log = grown(tmp_path)
    rows = exported(log)
    assert [row["profile.age"] for row in rows] == AGES
    assert [row["row"] for row in rows] == [0, 1, 0, 0, 1, 0, 0]
    assert rows[4] == {
        "id": "request-3",
        "row": 1,
        "time": START.replace(day=4),
        "revision": 1,
        "input.user_id": 1,
        "profile.age": 31,
        "profile.score": pytest.approx(0.7),
        "profile.tier": "gold",
        "output.y": pytest.approx(31 * 0.7, rel=1e-6),
    }


def test_rows_of_the_past_equal_those_that_were_served(tmp_path: Path) -> None:
    log = grown(tmp_path)
    served = exported(log)
    # Whatever comes later changes nothing.
    log.insert(5, 1, 99, 9.9, "late")
    log.execute("INSERT INTO users SELECT 7, age, score, tier, at FROM users")
    assert exported(log, "--point-in-time") == served
    assert exported(log) == served
    convert(log.log)
    log.log = next(tmp_path.glob("r1-*.parquet"))
    assert exported(log, "--point-in-time") == served


def test_features_that_were_not_logged_come_from_the_past(tmp_path: Path) -> None:
    log = grown(tmp_path)
    served = exported(log)
    bare = log.spec.read_text().replace("      nodes:\n      - profile\n", "      sample: 100%\n")
    log.spec.write_text(bare)
    assert [name for name in exported(log)[0] if name.startswith("profile")] == []
    past = exported(log, "--point-in-time")
    assert [{**row, "output.y": 0} for row in past] == [{**row, "output.y": 0} for row in served]


def test_labels_are_joined_by_the_id_of_the_request(tmp_path: Path) -> None:
    log = grown(tmp_path)
    labels = tmp_path / "labels.csv"
    labels.write_text("id,bought,when\nrequest-3,true,2026-11-05\nrequest-5,false,\n")
    rows = exported(log, "--labels", str(labels))
    found = [(row["id"], row["row"], row["label.bought"]) for row in rows]
    assert found == [("request-3", 0, True), ("request-3", 1, True), ("request-5", 0, False)]
    labels.write_text("id,bought\na,1\na,2\n")
    with pytest.raises(InvalidRequest, match="has the request 'a' twice"):
        exported(log, "--labels", str(labels))
    labels.write_text("request,bought\na,1\n")
    with pytest.raises(InvalidRequest, match="has no column 'id'"):
        exported(log, "--labels", str(labels))


@pytest.mark.parametrize("is_parquet", [False, True])
def test_rewards_in_the_log_are_beside_their_rows(tmp_path: Path, is_parquet: bool) -> None:
    log = grown(tmp_path, feedback=True)
    for graph, name, reward, truth in (
        ("shop", "request-3", 0.5, ["gold", 7]),
        ("other", "request-5", 1.0, None),
        ("shop", "request-3", 0.9, None),
        ("shop", "request-4", 1.0, None),
    ):
        log.append(encode(RewardLogEntry(name, graph, 1, reward, truth), 2**20))
    if is_parquet:
        log.log = convert(log.log)
    rows = exported(log)
    found = [(row["id"], row["feedback.reward"], row["feedback.truth"]) for row in rows]
    assert found[3:] == [
        ("request-3", 0.5, "gold"),
        ("request-3", 0.5, "7"),
        ("request-4", 1.0, None),
        ("request-5", None, None),
    ]


def test_only_requests_of_the_graph_and_the_time_that_were_answered(tmp_path: Path) -> None:
    log = grown(tmp_path)
    line = log.log.read_bytes().splitlines()[0]
    log.append(line.replace(b'"graph":"shop"', b'"graph":"other"'))
    log.append(line[:50])
    event = json.loads(line)
    event["data"].pop("response")
    log.append(json.dumps(event | {"data": {**event["data"], "error": {"class": "x"}}}).encode())
    target = tmp_path / "train.csv"
    words = ("--since", "2026-11-03T00:00+00:00", "--until", "2026-11-05T00:00+00:00")
    done = run("export", str(log.spec), "--from", str(log.log), "-o", str(target), *words)
    assert "3 rows of 2 requests (left out: 5 other, 1 unreadable)" in done
    assert target.read_text().splitlines()[1].startswith('"request-3",0,2026-11-04 00:00')


def test_data_that_were_not_logged_are_empty(tmp_path: Path) -> None:
    with closing(FeatureLog(tmp_path).graph):
        pass
    (tmp_path / "features.db").unlink()
    log = FeatureLog(tmp_path)
    log.insert(1, 1, 30, 0.1, "silver")
    log.ask(2, 1, rule=LogRule(frozenset({"tier"}), known=("user_id",)))
    assert b"silver" not in log.log.read_bytes()
    (row,) = exported(log)
    assert (row["profile.tier"], row["profile.age"]) == (None, 30)
    log.ask(2, 1, rule=LogRule(frozenset({"user_id"}), known=("user_id",)))
    with pytest.raises(InvalidRequest, match=r"'request-2' has no 'input\.user_id' in the log"):
        exported(log, "--point-in-time")


def test_nothing_is_written_where_there_is_nothing_or_it_fails(tmp_path: Path) -> None:
    log = grown(tmp_path)
    target = tmp_path / "train.parquet"
    with pytest.raises(InvalidRequest, match=r"no row of graph 'shop' \(5 other\)"):
        exported(log, "--until", "2026-01-01")
    target.unlink()
    log.execute("UPDATE users SET age = 'old' WHERE user_id = 2")
    with pytest.raises(Exception, match="'age' of user_id=2 is no number: 'old'"):
        exported(log, "--point-in-time")
    assert not target.exists()
    assert not list(tmp_path.glob(".train*"))
    for name in ("train.txt", "train"):
        with pytest.raises(InvalidRequest, match=r"must end in \.parquet or \.csv"):
            run("export", str(log.spec), "--from", str(log.log), "-o", str(tmp_path / name))


@pytest.mark.parametrize(
    ("replaced", "by", "text"),
    [
        ("        timestamp: at\n", "", "without the argument `timestamp`"),
        ("table: users", "table: user", "there is no table 'user'"),
        (
            "store: sqlite:///features.db\n        table: users\n        timestamp: at",
            "store: redis://localhost/0\n        key: 'user:{user_id}'",
            "Redis does not know the past: name a store that does",
        ),
    ],
)
def test_a_store_without_a_past(tmp_path: Path, replaced: str, by: str, text: str) -> None:
    log = grown(tmp_path)
    assert replaced in log.spec.read_text()
    log.spec.write_text(log.spec.read_text().replace(replaced, by))
    with pytest.raises(LoadError, match=f"node 'profile': .*{text}"):
        exported(log, "--point-in-time")


def test_a_store_whose_file_is_damaged_is_named(tmp_path: Path) -> None:
    log = grown(tmp_path)
    (tmp_path / "features.db").write_bytes(b"x" * 4096)
    with pytest.raises(NodeError, match=r"'profile' .* feature store: DatabaseError: .* database"):
        exported(log, "--point-in-time")


class FullStore(ThreadedStore):
    """A store whose library has no space left for files of its own."""

    def _open(self) -> None:
        pass

    def _fetch(self, keys: Sequence[Key]) -> StoredRows:
        raise NotImplementedError

    def _as_of(self, keys: Sequence[Key], times: Sequence[float]) -> StoredRows:
        raise OSError(errno.ENOSPC, "No space left on device")

    def _guarded(self, call: Callable[[], Any]) -> Any:
        return call()


def test_an_error_of_a_store_is_not_one_of_the_output(tmp_path: Path) -> None:
    log = grown(tmp_path)
    plan = open_graph(log.spec).plan
    past = [replace(one, store=FullStore(one.node)) for one in
            open_past(plan, tmp_path, lookups_of(plan))]  # fmt: skip
    target = tmp_path / "train.parquet"

    async def main() -> None:
        async with opened(past):
            events = read(log_files([str(log.log)]))
            await export(events, RowFilter(plan.name), columns_of(plan), past, target)

    with pytest.raises(NodeError, match=r"'profile' .* feature store: OSError: .*No space left"):
        asyncio.run(main())
    assert not target.exists()


def test_the_past_may_be_in_another_store(tmp_path: Path) -> None:
    log = grown(tmp_path)
    served = exported(log)
    text = log.spec.read_text().replace(
        "store: sqlite:///features.db\n        table: users\n        timestamp: at",
        "store: redis://localhost/0\n        key: 'user:{user_id}'\n        offline: {store: "
        "'sqlite:///features.db', table: users, timestamp: at}",
    )
    log.spec.write_text(text)
    assert exported(log, "--point-in-time") == served


def test_keys_from_nodes_must_be_in_the_log(tmp_path: Path) -> None:
    log = grown(tmp_path)
    text = log.spec.read_text().replace(
        "      user_id: user_id\n", "      user_id: same.output\n"
    ).replace(
        "  nodes:\n    model:",
        "  nodes:\n    same: {type: transformer, method: cast, args: {datatype: INT64}, inputs: "
        "{x: user_id}}\n    model:",
    )  # fmt: skip
    log.spec.write_text(text)
    with pytest.raises(InvalidRequest, match=r"comes from 'same\.output', whose values are not"):
        exported(log, "--point-in-time")


@pytest.mark.filterwarnings("ignore")  # of Feast and the libraries below it
def test_rows_of_feasts_past_equal_those_that_were_served(tmp_path: Path) -> None:
    pytest.importorskip("feast", reason="feast is not installed: pip install anabranch[feast]")
    from tests.components.features.feast_repository import make_repository

    store = make_repository(tmp_path / "repo", until=START)
    log = FeatureLog(
        tmp_path,
        {
            "store": "feast://repo",
            "features": {name: f"users:{name}" for name in ("age", "score", "tier")},
            "defaults": {"age": -1, "score": 0.1, "tier": ""},
        },
    )
    with closing(log.graph):
        for day in (0.5, 1.5, 2.5):
            store.materialize(START - timedelta(days=1), START + timedelta(days=day))
            log.ask(day, 1, 2, 3)
    served = exported(log)
    assert [row["profile.age"] for row in served] == [30, -1, -1, 30, 40, -1, 31, 40, -1]
    assert exported(log, "--point-in-time") == served
    assert run("check", str(log.spec), "--from", str(log.log)).startswith("0 9 rows")
