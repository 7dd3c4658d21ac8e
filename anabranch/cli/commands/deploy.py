"""Deploys a file, for the commands ``deploy`` and ``run``."""

from __future__ import annotations

from pathlib import Path

from anabranch.cli.terminal import Say
from anabranch.client.client import ControlClient, Json
from anabranch.control.release.bundles import pack
from anabranch.control.settings.settings import Settings
from anabranch.graph.compile.loading import open_graph

REPLACE: Json = {"kind": "replace"}
"""The intent of a revision that takes over as soon as it is up, without a rollout."""


def send(
    client: ControlClient, file: Path, author: str, message: str, intent: Json | None = None
) -> Json:
    """Check ``file``, pack its folder into a bundle, and send the bundle.

    Return ``{"graph", "revision", "state"}``. Raise SpecError before the bundle is sent.
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
    """Send ``file`` and wait until its revision is up; raise DeployError if the revision fails."""
    sent = send(client, file, author, message, intent)
    say(f"{sent['graph']} revision {sent['revision']} was sent")
    up = client.wait(sent["graph"], sent["revision"], timeout, say)
    return sent | {"state": up["state"]}
