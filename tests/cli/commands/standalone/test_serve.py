"""``anabranch serve`` as a process of its own: up, asked, changed under way, and ended."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.access.keys import make_key
from anabranch.client.portable.building import build
from tests.router.standalone.graphs import (
    PARTS,
    Command,
    Reply,
    ask,
    begun,
    command,
    refused,
    spec,
    tensor,
    written,
)
from tests.waiting import until, until_said

TRIP = tensor([1, 2])
HEAVY = ("ray", "pandas", "torch", "sklearn", "fastapi", "sqlalchemy", "cel", "opentelemetry")
"""Libraries that a light graph does not import."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    lists = PARTS + (
        "\n\nclass Lists:\n    def transform(self, x):\n        import sys\n"
        f"        found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "        print('a component prints')\n"
        "        return [','.join(found)] * len(x)\n"
    )
    file = written(tmp_path_factory.mktemp("served"), spec("Lists"), lists)
    with command(file, "--grpc-port", "0") as found:
        yield found


def test_it_answers_without_ray_and_other_heavy_libraries(up: Command) -> None:
    reply = ask(f"{up.model}/infer", TRIP)
    assert reply.status == 200, reply.body
    assert reply.json()["outputs"][0]["data"] == [""]


def test_it_tells_where_it_answers(up: Command) -> None:
    assert up.told["graph"] == "demo"
    host, _, port = up.told["grpc"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30):
        pass


def test_a_slow_head_keeps_nobody_else_waiting(up: Command) -> None:
    host, _, port = up.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(b"POST /v2/models/demo/infer HTTP/1.1\r\nhost")
        assert ask(f"{up.model}/infer", TRIP).status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_that_have_come_are_answered_before_it_ends(
    tmp_path: Path, number: signal.Signals
) -> None:
    replies: list[Reply] = []
    with command(written(tmp_path, spec("Slow"))) as found:
        asking = threading.Thread(target=lambda: replies.append(ask(f"{found.model}/infer", TRIP)))
        asking.start()
        until((tmp_path / "begun").exists)
        found.process.send_signal(number)
        until(lambda: _is_refused(found.url))
        assert found.process.poll() is None
        (tmp_path / "go").touch()
        asking.join(60)
        assert found.process.wait(60) == 0
    assert [reply.status for reply in replies] == [200]


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with command(written(tmp_path, spec("Slow"))) as found:
        threading.Thread(target=_ask_and_forget, args=(found.model,), daemon=True).start()
        until((tmp_path / "begun").exists)
        found.process.send_signal(signal.SIGTERM)
        until(lambda: _is_refused(found.url))
        assert found.end() == -signal.SIGTERM


def _ask_and_forget(model: str) -> None:
    with pytest.raises(OSError):
        ask(f"{model}/infer", TRIP)


def _is_refused(url: str) -> bool:
    host, _, port = url.removeprefix("http://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


def test_changes_of_the_folder_are_served(tmp_path: Path) -> None:
    file = written(tmp_path, spec())
    with command(file, "--watch") as found:
        (tmp_path / "parts.py").write_text(PARTS.replace("2.0", "3.0"))
        until(lambda: _answer(found) == [3.0, 6.0])
        (tmp_path / "parts.py").write_text("class Scale:\n    def transform(self, x):\n  oops")
        until_said(found.process, "revision 2 goes on: ")
        assert _answer(found) == [3.0, 6.0]
        (tmp_path / "parts.py").write_text(PARTS.replace("2.0", "4.0"))
        until(lambda: _answer(found) == [4.0, 8.0])
        assert found.end() == 0


def _answer(found: Command) -> list[float]:
    data: list[float] = ask(f"{found.model}/infer", TRIP).json()["outputs"][0]["data"]
    return data


def test_a_portable_bundle_is_served(tmp_path: Path) -> None:
    file = written(tmp_path / "g", spec())
    bundle = build(file, tmp_path / "demo.bundle", tmp_path / "home").bundle.path
    with command(bundle) as found:
        assert _answer(found) == [2.0, 4.0]
        assert found.end() == 0


def test_the_port_of_the_spec_counts_where_none_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused(written(tmp_path, spec(serving={"port": port})))
        assert f"port {port} on 127.0.0.1 cannot be had" in said and "--port" in said
        said = refused(written(tmp_path, spec()), "--port", "0", "--grpc-port", str(port))
        assert f"port {port} on 127.0.0.1" in said


def test_elsewhere_than_on_loopback_it_wants_keys(tmp_path: Path) -> None:
    file, key = written(tmp_path / "g", spec()), make_key()
    assert "nobody may ask at 0.0.0.0" in refused(file, "--host", "0.0.0.0")
    (tmp_path / "keys").write_text(f"ada invoker {key}")
    (tmp_path / "keys").chmod(0o600)
    with command(file, "--host", "0.0.0.0", ANABRANCH_KEYS=str(tmp_path / "keys")) as found:
        assert ask(f"{found.model}/infer", TRIP).status == 401
        reply = ask(f"{found.model}/infer", TRIP, authorization=f"Bearer {key}")
        assert reply.status == 200


def test_mistakes_are_told_as_by_validate(tmp_path: Path) -> None:
    assert "no class 'Scall'" in refused(written(tmp_path, spec("Scall")))
    said = refused(written(tmp_path, spec(outputs={"y": "m"})))
    assert "graph.yaml:1:" in said and "Traceback" not in said


def test_what_counts_in_an_engine_only_is_said(tmp_path: Path) -> None:
    graph = spec()
    node = graph["spec"]["nodes"]["n"]
    node |= {"resources": {"cpu": 2}, "deterministic": True, "cache": {"ttl": "1s"}}
    graph["spec"]["cache"] = {"ttl": "1s"}
    with command(written(tmp_path, graph)) as found:
        until_said(found.process, "scaling and placement of n count in an engine only")
        until_said(found.process, "cache and watch of the graph, n count in an engine only")
        assert _answer(found) == [2.0, 4.0]


def test_on_a_terminal_it_says_how_to_ask(tmp_path: Path) -> None:
    process: subprocess.Popen[str] = begun(written(tmp_path, spec()), "--port", "0")
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        words = lines[1].strip()
        asked = subprocess.run(["bash", "-c", words], capture_output=True, check=True)
        assert b'"data":[0.0,0.0]' in asked.stdout
        assert lines[0].startswith("demo answers at http://127.0.0.1:")
    finally:
        watchdog.cancel()
        process.terminate()
        assert process.communicate(timeout=60) and process.returncode == 0
