"""Machines that Ray's autoscaler orders and gives back: files, on which a test acts.

It is a provider of nodes by Ray's interface (``ray/autoscaler/node_provider.py``); the autoscaler's
process imports it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ray.autoscaler import tags
from ray.autoscaler._private.monitor import BASE_READONLY_CONFIG
from ray.autoscaler.node_provider import NodeProvider

HEAD, WORKER = "head", "worker"
"""Types of machines."""
FOLDER = "/tmp/home/orders"
_HEAD_TAGS = {
    tags.TAG_RAY_NODE_KIND: tags.NODE_KIND_HEAD,
    tags.TAG_RAY_USER_NODE_TYPE: HEAD,
    tags.TAG_RAY_NODE_NAME: HEAD,
    tags.TAG_RAY_NODE_STATUS: tags.STATUS_UP_TO_DATE,
}


def autoscaling(head: str, worker: str, resources: Mapping[str, float], idle_min: float) -> str:
    """The configuration, JSON, of a Ray that may order one machine at an address."""
    types = {
        HEAD: {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
        WORKER: {"resources": resources, "node_config": {}, "max_workers": 1},
    }
    provider = {"type": "external", "module": f"{__name__}.OrderedMachines"}
    addresses = {HEAD: head, WORKER: worker}
    return json.dumps(
        {
            **BASE_READONLY_CONFIG,
            "cluster_name": "theirs",
            "max_workers": 1,
            "idle_timeout_minutes": idle_min,
            "provider": {**provider, "addresses": addresses, "disable_node_updaters": True},
            "available_node_types": types,
            "head_node_type": HEAD,
        }
    )


class OrderedMachines(NodeProvider):  # type: ignore[misc]
    """Keeps a file with its tags for each machine but the head."""

    def _tags(self) -> dict[str, dict[str, str]]:
        orders = Path(FOLDER).glob("*.json")
        return {HEAD: _HEAD_TAGS, **{one.stem: json.loads(one.read_text()) for one in orders}}

    def non_terminated_nodes(self, tag_filters: Mapping[str, str]) -> list[str]:
        return [name for name, has in self._tags().items() if tag_filters.items() <= has.items()]

    def is_running(self, node_id: str) -> bool:
        return node_id in self._tags()

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in self._tags()

    def node_tags(self, node_id: str) -> dict[str, str]:
        return self._tags()[node_id]

    def internal_ip(self, node_id: str) -> str:
        kind = self.node_tags(node_id)[tags.TAG_RAY_USER_NODE_TYPE]
        return str(self.provider_config["addresses"][kind])

    external_ip = internal_ip

    def create_node(self, node_config: object, tags: Mapping[str, str], count: int) -> None:
        self.set_node_tags(f"order-{len(self._tags())}", tags)

    def set_node_tags(self, node_id: str, tags: Mapping[str, str]) -> None:
        file = Path(FOLDER) / f"{node_id}.json"
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps({**self._tags().get(node_id, {}), **tags}))
        part.replace(file)

    def terminate_node(self, node_id: str) -> None:
        (Path(FOLDER) / f"{node_id}.json").unlink(missing_ok=True)
