"""All environment variables in tables, from the docstrings of the modules that read them."""

from __future__ import annotations

import re

from anabranch.client.connection import login, trust
from anabranch.components import variables
from anabranch.components.artefacts import settings as artefacts
from anabranch.control.settings import process_bounds, ray_tls, tls
from anabranch.control.settings import settings as engine
from anabranch.reference.markdown import code, table
from anabranch.router.request_log import settings as request_logs
from anabranch.router.standalone import access as standalone
from anabranch.telemetry import log_settings, trace_settings

_MODULES = {
    "The engine": engine,
    "TLS": tls,
    "TLS of Ray": ray_tls,
    "Keys of clients": login,
    "Clients": trust,
    "Models by URI": artefacts,
    "Secrets of nodes": variables,
    "Logs": log_settings,
    "Processes of graphs": process_bounds,
    "Request logs": request_logs,
    "Traces": trace_settings,
    "Without an engine": standalone,
}
_ROW = re.compile(r"^\| ([A-Z][A-Z_, ]+) \| (.+) \| ?(.*?) ?\|$", re.MULTILINE)

INTERNAL = {
    "ANABRANCH_ADOPT": "id of a Ray head that runs already and whose supervisor has ended",
    "ANABRANCH_BUNDLE": "digest of the bundle of a replica on a cluster",
    "ANABRANCH_CALL_SECRET": "file with the secret of calls, on a Ray that is not the engine's",
    "ANABRANCH_EDGE": "HAProxy binary of the edge; empty for none",
    "ANABRANCH_ENGINE_ID": "id by which `anabranch down` or `leave` finds processes of a machine",
    "ANABRANCH_FORK": "1 in workers that may be forks of the zygote",
    "ANABRANCH_GRAPH": "name of a replica's graph",
    "ANABRANCH_HOME_NODE": "id of the node with the home, on a Ray that is not the engine's",
    "ANABRANCH_LOOPBACK": "1 where Ray itself stays on the loopback interface",
    "ANABRANCH_NODE_TLS": "folder of the certificates by which nodes know each other",
    "ANABRANCH_PINS": "JSON of movable references of models, and the versions that they meant",
    "ANABRANCH_PYTHON": "interpreter of the engine on this machine",
    "ANABRANCH_REVISION": "number of a replica's revision",
    "ANABRANCH_SETUP_WORKER": "path of Ray's own script that starts a worker",
    "ANABRANCH_SHARED": "names of the variables that all machines of the engine have alike",
    "ANABRANCH_SOCKETS": "folder of the engine's Unix sockets",
    "ANABRANCH_START_PROBLEM": "why a worker cannot be a replica: its requirements do not install",
    "ANABRANCH_ZYGOTE": "path of the zygote's socket",
    "ANABRANCH_ZYGOTE_MODULES": "more modules that the zygote imports, separated by commas",
}
"""Variables that the engine sets for its own processes, and the meaning of each."""


def tables() -> str:
    """Return the variables that a person may set, then those that the engine sets."""
    parts = [
        f"## {title}\n\n{table(('variable', 'meaning', 'default'), _rows(module.__doc__ or ''))}"
        for title, module in _MODULES.items()
    ]
    own = [[code(name), meaning] for name, meaning in INTERNAL.items()]
    return "\n\n".join([*parts, f"## Set by the engine\n\n{table(('variable', 'meaning'), own)}"])


def _rows(docstring: str) -> list[list[str]]:
    return [
        [", ".join(code(name) for name in names.split(", ")), meaning, default]
        for names, meaning, default in _ROW.findall(docstring)
        if names not in INTERNAL
    ]
