"""Deploying a file, as ``deploy`` and ``run`` do it."""

from __future__ import annotations

from pathlib import Path

from anabranch.cli.terminal import Say
from anabranch.client.client import ControlClient, Json
from anabranch.control.release.bundles import pack
from anabranch.control.settings.settings import Settings
from anabranch.graph.compile.loading import open_graph

REPLACE: Json = {"kind": "replace"}
"""The intent of a deploy that takes over as soon as it is up, whatever the spec says."""


def send(
    client: ControlClient, file: Path, author: str, message: str, intent: Json | None = None
) -> Json:
    """Check ``file``, pack it with what lies beside it, and send it.

    Gives ``{"graph", "revision", "state"}``. Raises SpecError before anything is sent.
    """
    loaded = open_graph(file)
    bundle = pack(file, Settings.from_env().max_bundle)
    return client.deploy(
        loaded.graph.name, bundle.data, author=author, message=message, intent=intent
    )


def deploy_and_wait(
    client: ControlClient,
    file: Path,
    timeout: float,
    say: Say,
    author: str = "",
    message: str = "",
    intent: Json | None = None,
) -> Json:
    """Send ``file`` and wait until it is up; DeployError with the node and the reason if not."""
    sent = send(client, file, author, message, intent)
    say(f"{sent['graph']} revision {sent['revision']} was sent")
    up = client.wait(sent["graph"], sent["revision"], timeout, say)
    return sent | {"state": up["state"]}
