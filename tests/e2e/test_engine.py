"""Engines as they are used: started, crashed, started again, and stopped without a trace."""

import json
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from anabranch.serve.edge.binary import OVERRIDE
from tests.disks import names
from tests.engines import HTTP, Engine, done
from tests.waiting import until, until_said, until_true

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "graph.yaml"


@pytest.fixture
def new_engine(tmp_path):
    """Make engines; whatever a test leaves of them is taken down."""
    made = []

    def make(name="home", env=None):
        made.append(Engine(tmp_path / name, env or {}))
        return made[-1]

    yield make
    for engine in made:
        if engine.state is not None:
            engine.process("down")


def is_live(engine):
    try:
        return HTTP.get(f"{engine.url}/v2/health/live").status_code == 200
    except httpx.HTTPError:
        return False


def listening(found):
    """Addresses that processes listen on, beyond loopback."""
    addresses = set()
    for process in found:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            addresses |= {
                (process.name(), connection.laddr.port)
                for connection in process.net_connections(kind="tcp")
                if connection.status == psutil.CONN_LISTEN
                and connection.laddr.ip not in ("127.0.0.1", "::ffff:127.0.0.1", "::1")
            }
    return addresses


def told(engine):
    """What `up` says of an engine, whether it starts it or finds it up."""
    return {
        "http": f"http://127.0.0.1:{engine.ports.http}",
        "grpc": f"127.0.0.1:{engine.ports.grpc}",
        "console": f"http://127.0.0.1:{engine.ports.http}/console",
        "dashboard": f"http://127.0.0.1:{engine.ports.dashboard}",
        "dashboard_token": str(engine.home / "ray-token"),
        "home": str(engine.home),
    }


def test_up_deploy_infer_delete_rollback(engine, given, tmp_path):
    """An engine is told once more to come up, and listens on loopback alone."""
    state = engine.state
    again = done(engine.command("up", "-o", "json", *engine.ports.options()))
    assert json.loads(again.stdout) == told(engine)
    assert "already up" in again.stderr
    assert engine.state == state
    for page in ("console", "dashboard"):
        found = httpx.get(told(engine)[page], trust_env=False, follow_redirects=True, timeout=60)
        assert found.status_code == 200
        assert found.headers["content-type"].startswith("text/html")
    given.made.append("fruits")
    example = tmp_path / "graph.yaml"
    example.write_text(EXAMPLE.read_text().replace("name: quickstart", "name: fruits"))
    shutil.copy(EXAMPLE.with_name("components.py"), tmp_path)
    deployed = json.loads(done(engine.command("deploy", example, "-o", "json")).stdout)
    assert deployed.pop("bundle")["warnings"] == []
    assert deployed == {"graph": "fruits", "revision": 1, "state": "live", "new": True}
    again = done(engine.command("deploy", example))
    assert again.stdout == "fruits revision 1 is this already, and live\n"
    answer = done(engine.command("infer", "fruits", "-i", "fruit=[0.9, 0.2]", "-o", "json"))
    assert json.loads(answer.stdout)["outputs"][0]["shape"] == [1, 2]
    assert listening(engine.processes(state)) == set()
    assert re.search(r"^fruits +1 ", done(engine.command("status")).stdout, re.MULTILINE)
    assert "no change" in done(engine.command("plan", example)).stdout
    missing = engine.command("infer", "fruits", "-d", '{"inputs": []}')
    assert missing.returncode == 1 and "fruit" in missing.stderr and not missing.stdout
    done(engine.command("delete", "fruits", "--yes"))
    assert engine.command("status", "fruits").returncode == 1
    assert "was deleted" in done(engine.command("history", "fruits")).stdout
    back = done(engine.command("rollback", "fruits"))
    assert "fruits revision 1 is live" in back.stdout
    answer = done(engine.command("infer", "fruits", "-i", "fruit=[0.9, 0.2]", "-o", "json"))
    assert json.loads(answer.stdout)["outputs"][0]["shape"] == [1, 2]


def up_twice_at_once(engine):
    """One of two commands starts the engine; the other finds it up, or says why it has to wait."""
    words = engine.command_line("up", *engine.ports.options())
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    twins = [subprocess.Popen(words, env=engine.environment(), **pipes) for _ in range(2)]
    said = [one.communicate(timeout=300)[1] for one in twins]
    late = [text for one, text in zip(twins, said, strict=True) if one.returncode]
    assert len(late) < 2 and all("is at work in" in text for text in late), said
    found = [process.name() for process in engine.processes(engine.state)]
    assert found.count("gcs_server") == 1


@pytest.mark.nightly
def test_two_engines_side_by_side(new_engine):
    """Each goes its own way, also where the head of one dies and leaves all that it started."""
    one, two = new_engine("one"), new_engine("two")
    up_twice_at_once(one)
    taken = Engine(two.home, ports=one.ports).start()
    assert taken.returncode == 1
    assert f"port {one.ports.http} " in taken.stderr and "--http-port" in taken.stderr
    assert two.state is None
    two.up()
    done(two.process("deploy", EXAMPLE))
    assert "no graphs" in done(one.process("status")).stdout
    state = one.state
    left = [process for process in one.processes(state) if process.pid != state.pid]
    os.kill(state.pid, signal.SIGSTOP)  # so that it cannot stop its children on the way out
    os.kill(state.pid, signal.SIGKILL)
    assert left
    done(one.process("down"))
    assert one.processes(state) == []
    assert is_live(two) and not is_live(one)
    assert done(two.process("infer", "quickstart", "-d", '{"fruit": [[0.9, 0.2]]}')).stdout


@pytest.fixture
def short_folder():
    """A folder for temporary files, whose path leaves room for sockets."""
    folder = Path("/tmp") / f"e{secrets.token_hex(2)}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@contextmanager
def started(engine, foreground):
    """An engine that has started, and is then told to end."""
    if not foreground:
        done(engine.start())
        yield
        engine.down()
        return
    before, up = engine.state, engine.command_line("up", "--foreground", *engine.ports.options())
    running = subprocess.Popen(up, env=engine.environment(), stderr=subprocess.PIPE)
    try:
        until(lambda: (now := engine.state) is not None and now.ready and now != before, 240)
        yield
    finally:
        running.terminate()
        running.communicate(timeout=120)
    assert running.returncode == 0
    assert engine.state is None


@pytest.mark.parametrize("foreground", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_graphs_come_back_after_a_crash(new_engine, short_folder, foreground):
    """So do keys; what killed processes have left among temporary files is gone in the end."""
    engine = new_engine(env={"TMPDIR": str(short_folder)})
    engine.home.mkdir(mode=0o755)
    assert json.loads(done(engine.start()).stdout) == told(engine)
    assert stat.S_IMODE(engine.home.stat().st_mode) == 0o700
    done(engine.command("deploy", EXAMPLE))
    lasting = ["keys", "create", "lasting", "--role", "viewer", "-o", "json"]
    key = json.loads(done(engine.command(*lasting)).stdout)["key"]
    crashed = engine.state
    for process in engine.processes(crashed):
        with suppress(psutil.NoSuchProcess):  # ended with one before it
            process.kill()
    with started(engine, foreground):
        assert engine.state.id != crashed.id
        assert engine.processes(crashed) == []
        assert not Path(crashed.runtime).exists()
        asked = ("infer", "quickstart", "-d", '{"fruit": [[0.9, 0.2]]}')
        until_true(lambda: done(engine.command(*asked)))  # a busy machine is up before its graphs
        shown = {"authorization": f"Bearer {key}"}
        me = HTTP.get(f"{engine.url}/control/v1/access/me", headers=shown).json()
        assert (me["kind"], me["name"]) == ("key", "lasting")
        until_true(lambda: done(engine.command("doctor")))
        # A process that starts tries for a moment if it can write there.
        until(lambda: names(short_folder) == [Path(engine.state.runtime).name])
    assert names(short_folder) == []
    assert json.loads(done(engine.command("down", "-o", "json")).stdout)["stopped"] is False
    assert not (engine.home / "store.db-wal").exists()
    backup = done(engine.command("backup", short_folder / "b.zip", "-o", "json"))
    assert json.loads(backup.stdout)["graphs"] == ["quickstart"]


def test_an_interrupted_start_leaves_nothing(new_engine):
    engine = new_engine()
    starting = subprocess.Popen(
        engine.command_line("up", *engine.ports.options()),
        env=engine.environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "starting Ray" not in starting.stderr.readline():
        assert starting.poll() is None
    state = engine.state
    starting.send_signal(signal.SIGTERM)
    starting.communicate(timeout=120)
    assert starting.returncode == 128 + signal.SIGTERM
    assert engine.state is None
    assert engine.processes(state) == []


@pytest.mark.nightly
def test_a_start_that_fails_shows_why_and_leaves_nothing(new_engine):
    engine = new_engine(env={"ANABRANCH_STORE": "nosuchdatabase://x"})
    failed = engine.start()
    assert failed.returncode == 1
    assert "nosuchdatabase" in failed.stderr and "driver.log" in failed.stderr
    assert engine.state is None


@pytest.mark.nightly
def test_without_haproxy_the_default_proxy_answers(new_engine):
    engine = new_engine(env={OVERRIDE: "/nonexistent/haproxy"})
    warned = done(engine.start())
    assert "warning: HAProxy cannot run here" in warned.stderr
    done(engine.process("deploy", EXAMPLE))
    assert done(engine.process("infer", "quickstart", "-d", '{"fruit": [[0.9, 0.2]]}')).stdout
    names = {process.name() for process in engine.processes(engine.state)}
    assert not any("haproxy" in name.lower() for name in names)


@pytest.mark.nightly
def test_run_deploys_again_on_change_and_cleans_up(new_engine, tmp_path):
    engine = new_engine()
    work = tmp_path / "work"
    work.mkdir()
    for file in EXAMPLE.parent.iterdir():
        if file.is_file():
            (work / file.name).write_bytes(file.read_bytes())
    running = subprocess.Popen(
        engine.command_line("run", work / "graph.yaml", *engine.ports.options()),
        env=engine.environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until_said(running, "revision 1 is live")
    (work / "components.py").write_text((work / "components.py").read_text() + "\n# changed\n")
    until_said(running, "revision 2 is live")
    (work / "graph.yaml").write_text("nonsense: [")
    until_said(running, "graph.yaml:2:1: not valid YAML")
    state = engine.state
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=120)
    assert running.returncode == 0
    assert engine.state is None
    assert engine.processes(state) == []
