"""What the processes of an engine get on a Ray of somebody else, and what they do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState
from anabranch.control.engine.attaching.commands import FoundRay
from anabranch.control.engine.attaching.environment import environment, place
from anabranch.control.engine.launch import EngineOptions
from anabranch.control.engine.runtime import make_runtime, remove_runtime
from anabranch.control.settings.settings import Settings
from anabranch.errors import EngineError
from anabranch.router.between_nodes import AUTHORITY, NODE, NODE_TLS
from anabranch.serve.attached.place import HOME, SECRET_FILE
from anabranch.serve.attachment import HOME_NODE
from anabranch.serve.workers.environment import MARK
from anabranch.serve.workers.launcher import HOOK, ZYGOTE

FOUND = FoundRay("10.0.0.1:6379", "ab12", "http://10.0.0.1:8265", "/python")
GIVEN = {
    "RAY_ADDRESS": "10.0.0.9:6379", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "theirs",
    "RAY_worker_niceness": "3", "RAY_SERVE_LOG_TO_STDERR": "1", "ANABRANCH_GRACE": "30",
    "ANABRANCH_STORE": "sqlite:////tmp/secret.db", "AWS_SECRET_ACCESS_KEY": "secret",
}  # fmt: skip


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineState]:
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    runtime = make_runtime()
    yield EngineState("e1", "", "", "", FOUND.address, str(runtime), attached=True)
    remove_runtime(runtime)


def made(home: Path, state: EngineState, options: EngineOptions) -> dict[str, str]:
    return environment(home, options, state, FOUND, lambda text: None)


def test_the_engine_s_machine_finds_its_files_by_the_path_of_all(
    tmp_path: Path, state: EngineState
) -> None:
    env = made(tmp_path, state, EngineOptions())
    home = Path(state.runtime) / HOME
    assert home.resolve() == tmp_path
    assert env[NODE_TLS] == str(home / "nodes")
    assert (env["ANABRANCH_HOME"], env[MARK], env[HOME_NODE]) == (str(tmp_path), "e1", "ab12")
    assert env[HOOK].endswith(".enter") and ZYGOTE not in env
    assert env["RAY_AUTH_TOKEN"] == "theirs" and "RAY_ADDRESS" not in env
    assert Settings.from_env(env).is_cluster


def test_all_machines_get_settings_and_files_of_the_engine_and_no_secrets_of_others(
    tmp_path: Path, state: EngineState
) -> None:
    found = place(made(tmp_path, state, EngineOptions()), state, tmp_path)
    shared = found.environment
    assert (shared["ANABRANCH_GRACE"], shared["RAY_SERVE_LOG_TO_STDERR"]) == ("30", "1")
    assert shared["ANABRANCH_HOME"] == f"{state.runtime}/{HOME}"
    assert not shared.keys() & {
        "RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_ADDRESS", "RAY_worker_niceness",
        "ANABRANCH_STORE", "AWS_SECRET_ACCESS_KEY",
    }  # fmt: skip
    assert set(found.files) == {SECRET_FILE, f"nodes/{AUTHORITY}", f"nodes/{NODE}"}
    assert found.owner.endswith(f":{tmp_path}")


@pytest.mark.parametrize(
    ("options", "ingress", "host"),
    [
        (EngineOptions(), "head", "127.0.0.1"),
        (EngineOptions(ingress="head"), "head", "127.0.0.1"),
        (EngineOptions(http_host="0.0.0.0", ingress="edge=yes"), "edge=yes", "0.0.0.0"),
        (EngineOptions(http_host="10.0.0.1"), None, None),
    ],
)
def test_on_loopback_no_other_machine_takes_requests(
    tmp_path: Path,
    state: EngineState,
    options: EngineOptions,
    ingress: str | None,
    host: str | None,
) -> None:
    env = made(tmp_path, state, options)
    assert env.get("ANABRANCH_INGRESS") == ingress
    found = place(env, state, tmp_path).environment
    assert found.get("ANABRANCH_HTTP_HOST") == host


def test_on_loopback_other_ingress_is_refused(tmp_path: Path, state: EngineState) -> None:
    with pytest.raises(EngineError, match=r"--ingress every: .*`--host ADDRESS`"):
        made(tmp_path, state, EngineOptions(ingress="every"))
    assert list(tmp_path.iterdir()) == []
