"""The whole graph in one hand-written Serve deployment, with the flags that anabranch sets.

The fastest that one can do with Serve: raw ASGI, no access log, no log record for a request.
"""

from __future__ import annotations

import private_ray
from handmade import App, in_process


class Five:
    """The only deployment."""

    def __serve_build_asgi_app__(self) -> App:
        """Serve's hook for an application that is made in the replica."""
        return App(in_process)


def application() -> object:
    from ray import serve

    return private_ray.tuned_deployment("five", serve.ingress()(Five)).bind()


if __name__ == "__main__":
    private_ray.main(application, tuned=True)
