"""The registry of what is measured over HTTP: a script in ``servers/`` and how to run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SERVERS = Path(__file__).parent / "servers"
GRAPH = SERVERS / "graph"

OURS = "anabranch"
ISOLATED = "anabranch-isolated"
OWN_PORT = "anabranch-own-port"
SERVE = "serve"
MIRROR = "mirror"
UVICORN = "uvicorn"
SINGLE = "serve-single"
HANDLE = "serve-handle"
FIVE = "/v2/models/five/infer"


@dataclass(frozen=True)
class Contender:
    """One way to serve the graph.

    ``traffic`` is what our script does with a second revision, or how it serves the first.
    ``peer`` names the environment it runs in, None for ours. ``goal`` is how many times its
    requests a second anabranch is to reach: at one connection, and at 32.
    """

    name: str
    title: str
    script: str
    path: str = "/"
    spec: str | None = None
    traffic: str | None = None
    peer: str | None = None
    starts_ray: bool = False
    goal: tuple[float, float] | None = None


CONTENDERS: tuple[Contender, ...] = (
    Contender(
        OURS,
        "anabranch, one segment",
        "anabranch_graph.py",
        path=FIVE,
        spec="graph.yaml",
        starts_ray=True,
    ),
    Contender(
        OWN_PORT,
        "anabranch, on a port of its own",
        "anabranch_graph.py",
        path=FIVE,
        spec="graph.yaml",
        traffic="own-port",
        starts_ray=True,
    ),
    Contender(
        SERVE,
        "anabranch serve, one process",
        "anabranch_serve.py",
        path=FIVE,
        spec="graph.yaml",
    ),
    Contender(UVICORN, "bare uvicorn", "uvicorn_bare.py", goal=(1.0, 0.6)),
    Contender("constant", "a constant reply, without any work", "constant.py", path=FIVE),
    Contender(
        "constant-edge",
        "a constant reply, behind the engine's edge",
        "constant.py",
        path=FIVE,
        spec="graph.yaml",
        traffic="edge",
    ),
    Contender(
        SINGLE,
        "Serve, one hand-written deployment, same flags",
        "serve_single.py",
        starts_ray=True,
        goal=(0.8, 0.8),
    ),
    Contender(
        "serve-graph",
        "Serve, five hand-wired deployments, default settings",
        "serve_graph.py",
        starts_ray=True,
        goal=(10, 10),
    ),
    Contender(
        "bentoml-one",
        "BentoML, one service",
        "bentoml_one.py",
        path="/infer",
        peer="bentoml",
        goal=(3, 3),
    ),
    Contender(
        "bentoml-five", "BentoML, five services", "bentoml_five.py", path="/infer", peer="bentoml"
    ),
    Contender(
        "mlserver",
        "MLServer, custom runtime",
        "mlserver_runtime.py",
        path=FIVE,
        peer="mlserver",
        goal=(3, 3),
    ),
    Contender(
        ISOLATED,
        "anabranch, one node isolated",
        "anabranch_graph.py",
        path=FIVE,
        spec="isolated.yaml",
        starts_ray=True,
    ),
    Contender(
        HANDLE,
        "Serve, hand-written, one node behind a handle, same flags",
        "serve_handle.py",
        starts_ray=True,
    ),
    Contender(
        "two-inlined",
        "anabranch, two arms, drawn: the one in the router",
        "anabranch_graph.py",
        path=FIVE,
        spec="graph.yaml",
        traffic="inlined",
        starts_ray=True,
    ),
    Contender(
        "two-remote",
        "anabranch, two arms, drawn: the other",
        "anabranch_graph.py",
        path=FIVE,
        spec="graph.yaml",
        traffic="remote",
        starts_ray=True,
    ),
    Contender(
        "sticky",
        "anabranch, two arms, sticky, one user: the one in the router",
        "anabranch_graph.py",
        path=FIVE,
        spec="sticky.yaml",
        traffic="sticky",
        starts_ray=True,
    ),
    Contender(
        MIRROR,
        "anabranch, a healthy mirror of 100 %",
        "anabranch_graph.py",
        path=FIVE,
        spec="graph.yaml",
        traffic="mirror",
        starts_ray=True,
    ),
    Contender(
        "mirror-slow",
        "anabranch, a mirror of 100 % that takes 1 s",
        "anabranch_graph.py",
        path=FIVE,
        spec="graph.yaml",
        traffic="slow",
        starts_ray=True,
    ),
    Contender(
        "mirror-hung",
        "anabranch, a mirror of 100 % that hangs",
        "anabranch_graph.py",
        path=FIVE,
        spec="graph.yaml",
        traffic="hung",
        starts_ray=True,
    ),
    Contender(
        "mirror-huge",
        "anabranch, a mirror of 100 % that answers with 3 MiB",
        "anabranch_graph.py",
        path=FIVE,
        spec="graph.yaml",
        traffic="huge",
        starts_ray=True,
    ),
    Contender(
        "mirror-crashing",
        "anabranch, a mirror of 100 % that crashes",
        "anabranch_graph.py",
        path=FIVE,
        spec="graph.yaml",
        traffic="crashing",
        starts_ray=True,
    ),
)
