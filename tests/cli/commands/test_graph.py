"""What ``status`` tells beside the state of graphs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

from anabranch.client.connection.engine_state import require_state, write_state
from anabranch.control.settings.tls import in_force
from anabranch.serve.edge.tls.certificates import load
from tests.certificates import Authority
from tests.cli.conftest import Served


def test_status_warns_of_the_end_of_a_certificate(engine: Served) -> None:
    copies = in_force(engine.home)
    state = require_state(engine.home)
    write_state(engine.home, replace(state, trusted=str(copies.trusted)))
    authority = Authority(engine.home)
    assert "warning: " + str(copies.trusted) in engine.run("status").stderr
    for days, warning in ((90, ""), (3, "warning: the certificate of the edge ends on ")):
        copies.install(load(authority.issue("engine", ends=timedelta(days=days))))
        for options in ((), ("-o", "json")):
            done = engine.run("status", *options)
            assert done.exit_code == 0
            assert done.stderr.startswith(warning)
            assert bool(done.stderr) is bool(warning)
        assert json.loads(done.stdout) == {"graphs": [], "namespaces": []}
