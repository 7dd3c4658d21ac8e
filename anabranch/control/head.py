"""The head process of an engine: ``python -m anabranch.control.head start --head …``.

Runs Ray's own command line, without the Ray Client server: it would be one more open port and
one more process to start, and nothing uses it.
"""

from __future__ import annotations

from collections.abc import Callable

from anabranch.control.loopback import keep_loopback


def main() -> None:
    """Run ``ray`` with the arguments of this process."""
    from ray.scripts import scripts

    keep_loopback()
    # Ray starts the server wherever its dependencies are installed; there is no flag against it.
    vars(scripts)["get_ray_client_dependency_error"] = lambda: ImportError("not wanted")
    ray_command: Callable[[], None] = scripts.main
    ray_command()


if __name__ == "__main__":
    main()
