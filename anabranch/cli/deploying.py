"""Deploying a file, as ``deploy`` and ``run`` do it."""

from __future__ import annotations

from pathlib import Path

from anabranch.cli.console import Say
from anabranch.control.bundles import pack
from anabranch.control.client import ControlClient, Json
from anabranch.control.settings import Settings
from anabranch.graph.loading import open_graph


def send(client: ControlClient, file: Path, author: str, message: str) -> Json:
    """Check ``file``, pack it with what lies beside it, and send it.

    Gives ``{"graph", "revision", "state"}``. Raises SpecError before anything is sent.
    """
    loaded = open_graph(file)
    bundle = pack(file, Settings.from_env().max_bundle)
    return client.deploy(loaded.graph.name, bundle.data, author=author, message=message)


def deploy_and_wait(
    client: ControlClient, file: Path, timeout: float, say: Say, author: str = "", message: str = ""
) -> Json:
    """Send ``file`` and wait until it is live; DeployError with the node and the reason if not."""
    sent = send(client, file, author, message)
    say(f"{sent['graph']} revision {sent['revision']} was sent")
    client.wait(sent["graph"], sent["revision"], timeout, say)
    return sent | {"state": "live"}
