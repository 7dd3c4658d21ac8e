"""What a check of who asks costs a request: ``python -m benchmarks.access``.

In this process, without an engine: the guard of a router with a table of many keys and an issuer of
JWTs, by what a request shows. Most requests show what was shown before; the first with a key, and
those with one that is not known, take a digest, and the first with a JWT of RS256 the check of its
signature. Times are medians over turns, of one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle, islice
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import RSAAlgorithm
from rich import box
from rich.console import Console
from rich.table import Table

from anabranch.access.guard import NOTHING, Credentials, Guard
from anabranch.access.identity import Identity
from anabranch.access.issuers import Issuer, IssuerKey
from anabranch.access.keys import digest_of, make_key
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable, KnownKey, Roles
from anabranch.errors import RequestError
from benchmarks.options import parse
from benchmarks.outcome import outcome

GRAPH = "team-a-shop"
ISSUER, AUDIENCE, KID = "https://login.example.com", "anabranch", "one"
GRANTS = (Grant("invoker", "team-a-*"), Grant("feedback", "team-a-*"), Grant("viewer", "demo"))
KEYS, TOKENS, CHECKS, TURNS, FEW = 1_000, 200, 20_000, 7, 8
KEY_GOAL_US, TOKEN_GOAL_US, FIRST_TOKEN_GOAL_US = 5.0, 20.0, 500.0
WIDTH = 120


class Checks:
    """A table of keys and an issuer, and times of checks by it, in microseconds."""

    def __init__(self, keys: int = KEYS, checks: int = CHECKS) -> None:
        self._checks = checks
        secrets = [make_key() for _ in range(keys)]
        self._keys = [_bearer(key) for key in secrets]
        private = generate_private_key(65537, 2048)
        jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        issuer = Issuer(ISSUER, (AUDIENCE,), keys=(IssuerKey(KID, ("RS256",), json.dumps(jwk)),))
        self._tokens = [_bearer(_token(private, number)) for number in range(TOKENS)]
        known = {
            digest_of(key): KnownKey(Identity("key", str(number), GRANTS), time.time() + 86_400)
            for number, key in enumerate(secrets)
        }
        rules: Roles = {("group", "makers"): GRANTS}
        self._table = AccessTable(1, known, (Grant("viewer"),), rules, issuers=(issuer,))

    def key(self) -> float:
        """Check a key that was shown before."""
        return self._of(self._keys[:FEW])

    def token(self) -> float:
        """Check a JWT that was shown before."""
        return self._of(self._tokens[:FEW])

    def nothing(self) -> float:
        """Check a request that shows nothing."""
        guard = Guard(self._table, GRAPH)
        return _median(lambda: _turn(lambda: guard.check("describe", NOTHING), self._checks))

    def first_key(self) -> float:
        """Check each key for the first time."""
        return self._first(self._keys)

    def first_token(self) -> float:
        """Check each JWT for the first time."""
        return self._first(self._tokens)

    def unknown_key(self) -> float:
        """Refuse keys that nobody has, from one address."""
        guard, shown = Guard(self._table, GRAPH), cycle([_bearer(make_key()) for _ in range(64)])

        def check() -> None:
            with suppress(RequestError):
                guard.check("call", next(shown), "10.0.0.1")

        return _median(lambda: _turn(check, self._checks))

    def _of(self, shown: list[Credentials]) -> float:
        """Check by turns what was shown before; each request has bytes of its own."""
        guard = Guard(self._table, GRAPH)

        def turn() -> float:
            fresh = _copies(shown, self._checks)
            return _turn(lambda: guard.check("call", next(fresh)), self._checks)

        turn()
        return _median(turn)

    def _first(self, shown: list[Credentials]) -> float:
        """Check each once, by a guard that has seen none."""

        def turn() -> float:
            guard, left = Guard(self._table, GRAPH), iter(shown)
            return _turn(lambda: guard.check("call", next(left)), len(shown))

        return _median(turn)


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    checks = Checks(options.keys, options.checks)
    key, token = checks.key(), checks.token()
    rows = Table(title=f"of {options.keys:,} keys", title_justify="left", box=box.SIMPLE_HEAD)
    rows.add_column("what a request shows")
    rows.add_column("µs a check", justify="right")
    for name, value in {
        "a key that was shown before": key,
        "a JWT that was shown before": token,
        "nothing": checks.nothing(),
        "a key for the first time": checks.first_key(),
        "a JWT for the first time": checks.first_token(),
        "a key that is not known": checks.unknown_key(),
    }.items():
        rows.add_row(name, f"{value:.2f}")
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(rows)
    return outcome(
        [
            (f"a check of a key takes {key:.2f} <= {KEY_GOAL_US:g} µs", key <= KEY_GOAL_US),
            (f"a check of a JWT takes {token:.2f} <= {TOKEN_GOAL_US:g} µs", token <= TOKEN_GOAL_US),
        ]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.access", description=__doc__)
    parser.add_argument("--keys", type=int, default=KEYS, help=f"keys (default: {KEYS})")
    parser.add_argument("--checks", type=int, default=CHECKS, help=f"of a turn (default: {CHECKS})")
    return parse(parser, keys=100, checks=1_000)


def _bearer(secret: str) -> Credentials:
    return Credentials(f"Bearer {secret}".encode())


def _copies(shown: list[Credentials], count: int) -> Iterator[Credentials]:
    """Return as many, each with bytes of its own, as they come from a socket."""
    found = islice(cycle(shown), count)
    return iter([Credentials(bytes(bytearray(one.authorization or b""))) for one in found])


def _token(private: Any, number: int) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": f"somebody-{number}", "groups": ["makers", "all"],
        "iat": now, "nbf": now, "exp": now + 3600, "name": "Some Body", "email": "some@example.com",
    }  # fmt: skip
    return jwt.encode(claims, private, "RS256", {"kid": KID})


def _median(turn: Callable[[], float]) -> float:
    return statistics.median(turn() for _ in range(TURNS))


def _turn(check: Callable[[], object], count: int) -> float:
    """Return the microseconds that one check takes, of so many in a row."""
    started = time.perf_counter()
    for _ in range(count):
        check()
    return (time.perf_counter() - started) / count * 1e6


if __name__ == "__main__":
    sys.exit(main())
