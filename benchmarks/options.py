"""Options that all benchmarks share."""

from __future__ import annotations

import argparse


def parse(parser: argparse.ArgumentParser, **smallest: float) -> argparse.Namespace:
    """Parse the command line; ``--quick`` replaces the defaults by the ``smallest`` settings."""
    text = ", ".join(f"--{name} {value:g}" for name, value in smallest.items())
    parser.add_argument("--quick", action="store_true", help=f"the smallest settings: {text}")
    found, _ = parser.parse_known_args()
    if found.quick:
        parser.set_defaults(**smallest)
    return parser.parse_args()


def add_peers(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-peers``; installing the peers takes minutes."""
    parser.add_argument(
        "--no-peers", dest="peers", action="store_false", help="leave out BentoML and MLServer"
    )
