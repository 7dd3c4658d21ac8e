"""Client of the control API, for the command line: the engine's JSON as it is.

The client is synchronous and imports neither Ray nor NumPy, so that a program starts quickly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from anabranch.client import control, waits
from anabranch.client.connection.engine_state import read_token, require_state
from anabranch.client.connection.login import destination
from anabranch.client.connection.trust import Verify
from anabranch.client.http import TIMEOUT_S, Transport
from anabranch.client.methods import method
from anabranch.client.portable.sending import send_models


class ControlClient:
    """Client of the engine at ``url``, with a key or its token, or None to show nothing.

    Use it as a context manager.

    Methods return the engine's JSON. Each method raises EngineError when the engine cannot be
    reached or refuses the key, and otherwise the error of the engine's reply, with the engine's
    message. ``timeout`` bounds each request, in seconds; ``verify`` is what HTTPX takes.
    """

    def __init__(
        self, url: str, token: str | None, *, timeout: float = TIMEOUT_S, verify: Verify = True
    ) -> None:
        self.transport = Transport(url, token, timeout, verify=verify)

    @classmethod
    def of_home(cls, home: Path) -> Self:
        """Return a client of the engine that ``ANABRANCH_URL`` or the login of ``home`` names.

        Without either it is the engine in ``home``: raise EngineError if none is running there. Its
        key is as ``connection.login`` says.
        """
        url, key, verify = destination(home)
        return cls(url, key, verify=verify)

    @classmethod
    def of_owner(cls, home: Path) -> Self:
        """Return a client of the engine in ``home``, with its token, whatever the login is."""
        state = require_state(home)
        return cls(state.http, read_token(home), verify=state.verify)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def graph_url(self, name: str, revision: int | None = None) -> str:
        """Return the URL at which a graph, or one of its revisions, answers requests."""
        return f"{self.transport.url}{control.model_path(name, revision)}"

    graphs = method(control.graphs)
    namespaces = method(control.namespaces)
    models = method(control.models)
    graph = method(control.graph)
    history = method(control.history)
    revision = method(control.revision)
    diff = method(control.diff)
    deploy = method(waits.until_taken)
    send_models = method(send_models)
    wait = method(waits.until_up)
    traffic = method(control.traffic)
    set_traffic = method(control.set_traffic)
    promote = method(control.promote)
    abort = method(control.abort)
    rollback = method(control.rollback)
    rollout = method(control.rollout)
    until_rolled_out = method(waits.until_rolled_out)
    move_rollout = method(control.move_rollout)
    compare = method(control.compare)
    monitors = method(control.monitors)
    bandits = method(control.bandits)
    reset_bandits = method(control.reset_bandits)
    experiments = method(control.experiments)
    delete = method(control.delete)
    wait_gone = method(waits.until_gone)
    logs = method(control.logs)
    events = method(control.events)
    newest_events = method(control.newest_events)
    verify_events = method(control.verify_events)
    kept = method(control.kept)
    nodes = method(control.nodes)
    join = method(control.join)
    drain = method(control.drain)
    until_drained = method(waits.until_drained)
    api_keys = method(control.api_keys)
    create_key = method(control.create_key)
    rotate_key = method(control.rotate_key)
    revoke_key = method(control.revoke_key)
    set_access = method(control.set_access)
    check_access = method(control.check_access)
    me = method(control.me)
    access = method(control.access)
    sign_in_code = method(control.sign_in_code)
    jobs = method(control.jobs)
    job = method(control.job)
    start_job = method(control.start_job)
    cancel_job = method(control.cancel_job)
    until_job_over = method(waits.until_job_over)
    metadata = method(control.metadata)
    infer = method(control.infer)
    feedback = method(control.feedback)
    explain = method(control.explain)
    until_reached = method(waits.until_reached)
