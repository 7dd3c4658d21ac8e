from __future__ import annotations

from pathlib import Path
from typing import Any

from anabranch.control.logs import last_lines, tail


def replica(name: str, **fields: str) -> dict[str, Any]:
    return {"replica_id": name, "node_ip": "10.0.0.2", **fields}


def apps(*replicas: dict[str, Any], dead: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    net = {"replicas": list(replicas), "recent_dead_replicas": dead or []}
    return {
        "digits.r3": {"deployments": {"net": net}},
        "digitsx": {"deployments": {"router": {"replicas": [replica("other")]}}},
        "anabranch.gateway": {"deployments": {"gateway": {"replicas": [replica("gate")]}}},
    }


def test_lines_carry_their_replica(tmp_path: Path) -> None:
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "net.log").write_text("INFO started\n")
    (tmp_path / "worker-w1-01-99.out").write_text(":actor_name:net\nhello\nworld\n")
    (tmp_path / "worker-w2-01-99.err").write_text("not ours\n")
    found = tail(
        apps(replica("abcdefghij", log_file_path="/serve/net.log", worker_id="w1")),
        tmp_path, "digits", 10,
    )  # fmt: skip
    tag = "[digits.r3/net#abcdefgh]"
    assert found == [f"{tag} INFO started", f"{tag} hello", f"{tag} world"]


def test_dead_replicas_tell_why_they_died(tmp_path: Path) -> None:
    (tmp_path / "worker-w1-01-99.err").write_text("Segmentation fault\n")
    found = tail(apps(dead=[replica("dead", worker_id="w1")]), tmp_path, "digits", 10)
    assert found == ["[digits.r3/net#dead] Segmentation fault"]


def test_logs_on_other_machines_say_where(tmp_path: Path) -> None:
    found = tail(apps(replica("far", worker_id="w9")), tmp_path, "digits", 10)
    assert found == ["[digits.r3/net#far] its log is on node 10.0.0.2"]


def test_only_the_end_of_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 3_000_000 + b"\nlast but one\n" + b"y" * 9000 + b"\xff\n")
    lines = last_lines(path, 10)
    assert lines[0] == "last but one"
    assert len(lines) == 2 and len(lines[1]) == 4096
    assert last_lines(path, 0) == [] and last_lines(tmp_path / "none", 5) == []
