"""The environment of an engine's processes on a Ray that somebody else has started."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from anabranch.client.connection.engine_state import EngineState
from anabranch.control.access.authority import FOLDER as CERTIFICATES
from anabranch.control.access.authority import certificates_environment, make_certificates
from anabranch.control.engine import flags
from anabranch.control.engine.attaching.commands import FoundRay, ray_environment
from anabranch.control.engine.launch import EngineOptions, Say, anonymous_text, haproxy, told
from anabranch.control.engine.tokens import ensure_token
from anabranch.control.nodes.shared import LOOPBACK, shared_names
from anabranch.errors import EngineError
from anabranch.serve.attached.place import ENTRY, HOME, SECRET_FILE, EnginePlace
from anabranch.serve.attachment import HOME_NODE
from anabranch.serve.calls.secret import OWN
from anabranch.serve.own_port import HOST
from anabranch.serve.sockets import FOLDER, SOCKETS
from anabranch.serve.workers.environment import MARK
from anabranch.serve.workers.launcher import HOOK, PYTHON

_ALL = "0.0.0.0"


def environment(
    home: Path, options: EngineOptions, state: EngineState, found: FoundRay, warn: Say
) -> dict[str, str]:
    """The environment of an engine's processes on its own machine; makes the files they need.

    Unless ``--host`` says otherwise the engine answers on loopback, on this machine alone.
    """
    ingress = options.ingress
    if options.is_loopback():
        if ingress not in ("", "head"):
            raise EngineError(
                f"--ingress {ingress}: machines take requests at their addresses, and the engine"
                " is on loopback; `--host ADDRESS` gives it an address"
            )
        ingress = "head"
    else:
        warn(anonymous_text(options.anonymous))
    binary = haproxy(warn, options.tls() is not None)
    runtime = Path(state.runtime)
    (runtime / HOME).symlink_to(home)
    make_certificates(home)
    ensure_token(home / SECRET_FILE)
    env = ray_environment()
    env.pop("RAY_ADDRESS", None)
    return {
        **env,
        **flags.serve_environment(),
        **flags.edge_environment(runtime / SOCKETS, binary),
        **certificates_environment(runtime / HOME),
        **told(options),
        **({"ANABRANCH_INGRESS": ingress} if ingress else {}),
        MARK: state.id,
        LOOPBACK: "0",
        HOOK: ENTRY,
        PYTHON: found.python,
        HOME_NODE: found.node,
        OWN: str(runtime / HOME / SECRET_FILE),
        "ANABRANCH_HOME": str(home),
    }


def place(env: Mapping[str, str], state: EngineState, home: Path) -> EnginePlace:
    """The place of an engine on all machines, of the environment on its own one."""
    names = {*filter(_is_setting, shared_names(env).split(",")), FOLDER, OWN}
    runtime = Path(state.runtime)
    alike = {name: env[name] for name in names}
    alike |= certificates_environment(runtime / HOME) | {"ANABRANCH_HOME": str(runtime / HOME)}
    if env[HOST] == _ALL or env[HOST].startswith("127."):
        alike[HOST] = env[HOST]
    files = [home / SECRET_FILE, *sorted((home / CERTIFICATES).glob("*.pem"))]
    texts = {str(one.relative_to(home)): one.read_text() for one in files}
    return EnginePlace(f"{socket.gethostname()}:{home}", state.runtime, alike, texts)


def _is_setting(name: str) -> bool:
    """Return whether a variable is no flag of Ray itself, which is somebody else's."""
    return not name.startswith(("RAY_", "__RAY_")) or name.startswith("RAY_SERVE_")
