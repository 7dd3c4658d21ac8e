"""The environment of an engine of several machines: what all have alike, and what is each one's.

``anabranch up`` decides the settings of an engine, flags of Ray and of exporters too, and a machine
that joins has the same. Paths, addresses and secrets of a machine are its own, and so is any
variable that is no setting: credentials of clouds, proxies, PATH.
"""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.control.settings.ray_tls import RAY_TLS_FILES
from anabranch.serve.edge.binary import OVERRIDE
from anabranch.serve.sockets import EDGE, FOLDER
from anabranch.serve.workers.environment import MARK
from anabranch.serve.workers.launcher import ZYGOTE

LOOPBACK = "ANABRANCH_LOOPBACK"
"""Set to 1 where Ray itself must stay on the loopback interface."""
GCS_STORAGE = "RAY_gcs_storage_path"
"""Ray's variable that names the folder of GCS's tables."""
SHARED = "ANABRANCH_SHARED"
"""Variable that names those that all machines of an engine have alike, by comma."""
_INDEXES = (
    "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_NO_INDEX", "PIP_TRUSTED_HOST",
    "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX",
)  # fmt: skip
"""Where each machine gets the packages that bundles require."""
_SETTINGS = ("ANABRANCH_", "MLFLOW_TRACKING_", "OTEL_", "RAY_", "__RAY_", *_INDEXES)
"""How the names of an engine's settings begin."""
_OWN = frozenset(
    {
        MARK, EDGE, OVERRIDE, GCS_STORAGE, SHARED, FOLDER, ZYGOTE,
        "ANABRANCH_BUNDLE_KEYS", "ANABRANCH_CA", "ANABRANCH_CACHE", "ANABRANCH_CLIENT_CA",
        "ANABRANCH_HOME", "ANABRANCH_HTTP_HOST", "ANABRANCH_NODE_TLS", "ANABRANCH_STORE",
        "ANABRANCH_TLS_CERT", "ANABRANCH_TLS_KEY", "RAY_AUTH_TOKEN_PATH",
        *RAY_TLS_FILES,
        "RAY_CLOUD_INSTANCE_ID", "RAY_NODE_TYPE_NAME",  # KubeRay names a pod and its group by them
    }
)  # fmt: skip


def shared_names(env: Mapping[str, str]) -> str:
    """The names of the variables that all machines have alike, as the value of ``SHARED``."""
    return ",".join(sorted(n for n in env if n.startswith(_SETTINGS) and n not in _OWN))


def shared_values(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that all machines have alike, in a process of the engine."""
    return {name: env[name] for name in env.get(SHARED, "").split(",") if name in env}
