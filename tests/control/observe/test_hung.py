"""What the supervisor leaves of a process that did not answer becomes an event."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.control.observe.hung import HungProcesses
from anabranch.control.store.store import Store
from anabranch.pulse import SIZE, Pulse
from anabranch.serve.heartbeat import EXCESSIVE, FOLDER, HUNG, PulseFile


class Caller:
    """Has a number in a pulse."""


def left(folder: Path, name: str, graph: str, node: str) -> None:
    memory, pulse, caller = bytearray(SIZE), Pulse(), Caller()
    pulse.share(memoryview(memory), graph, "2" if graph else "", 3.5)
    if node:
        pulse.called[0] = pulse.number(caller, "", "", node)
    (folder / name).write_bytes(bytes(memory) + b"the stacks")


def test_the_node_that_was_called_last_is_told_once(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    left(folder, f"1-1{HUNG}", "shop", "slow")
    left(folder, f"2-1{HUNG}", "shop", "")
    left(folder, f"3-1{HUNG}", "", "")
    left(folder, "4-1", "shop", "alive")
    for _ in range(2):
        HungProcesses(store, tmp_path).round()
    (event,) = store.events("shop")
    assert (event.kind, event.revision) == ("node_hung", 2)
    assert event.data == {"node": "slow", "seconds": 3.5}
    assert "'slow' was called last" in event.message
    assert [one.name for one in folder.iterdir()] == ["4-1"]


def test_a_file_that_another_process_removes_meanwhile_keeps_no_other_from_being_told(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    gone, cut = folder / f"1-1{HUNG}", folder / f"2-1{HUNG}"
    gone.symlink_to(tmp_path / "nowhere")  # is listed, and cannot be read
    cut.write_bytes(b"short")
    left(folder, f"3-1{HUNG}", "shop", "slow")
    HungProcesses(store, tmp_path).round()
    assert [event.kind for event in store.events("shop")] == ["node_hung"]
    assert list(folder.iterdir()) == []


def test_without_a_folder_there_is_nothing_to_tell(store: Store, tmp_path: Path) -> None:
    HungProcesses(store, None).round()
    HungProcesses(store, tmp_path).round()
    assert store.events("shop") == []


@pytest.mark.parametrize(("node", "begins"), [("slow", "node 'slow'"), ("", "a process")])
def test_a_process_that_took_too_much_is_told_with_the_reason(
    store: Store, tmp_path: Path, node: str, begins: str
) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    left(folder, "1-1", "shop", node)
    (pulse,) = PulseFile.all_in(tmp_path)
    pulse.mark_ended(EXCESSIVE, "took 300 MiB of memory, over its 200 MiB")
    HungProcesses(store, tmp_path).round()
    (event,) = store.events("shop")
    assert (event.kind, event.revision) == ("process_excessive", 2)
    assert event.message.startswith(begins) and event.message.endswith("and was replaced")
    assert event.data == {"node": node, "reason": "took 300 MiB of memory, over its 200 MiB"}
    assert list(folder.iterdir()) == []
