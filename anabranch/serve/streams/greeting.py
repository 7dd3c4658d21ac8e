"""The greeting by which both ends of a connection prove that they know the engine's secret.

The replica sends a CHALLENGE, the caller a PROOF, the replica a WELCOME. Each proof is an HMAC
(RFC 2104) with SHA-256 of both ends' random bytes, under the name of the end that proves, so none
can be used twice, or by the other end. Frames after it are neither signed nor encrypted.
"""

from __future__ import annotations

import hmac
import os
from typing import TypeVar

import msgspec

from anabranch.serve.streams.frames import MalformedFrame

VERSION = 1
"""Of all that crosses; there is no talk between versions."""
MAX_GREETING = 1024
"""Longest body of a frame before the greeting is over, in bytes."""
GREETING_S = 10.0
"""How long a greeting may take, in seconds."""
_CALLER, _REPLICA = b"caller", b"replica"
_RANDOM = 32

T = TypeVar("T", bound=msgspec.Struct)


class Challenge(msgspec.Struct, array_like=True):
    """Opens a connection."""

    version: int
    random: bytes


class Proof(msgspec.Struct, array_like=True):
    """The caller's answer, with the longest body that it takes, in bytes."""

    random: bytes
    proof: bytes
    most: int


class Welcome(msgspec.Struct, array_like=True):
    """The replica's proof, with its own limits and its load, as ``messages`` has it."""

    proof: bytes
    most: int
    calls: int
    load: int


def challenge() -> Challenge:
    """Return a challenge that no one has seen before."""
    return Challenge(VERSION, os.urandom(_RANDOM))


def prove(given: Challenge, secret: bytes, most: int) -> Proof:
    """Return the caller's answer. Raises MalformedFrame where the peer is of another version."""
    if given.version != VERSION:
        raise MalformedFrame(f"the peer speaks version {given.version}, not {VERSION}")
    random = os.urandom(_RANDOM)
    return Proof(random, _digest(secret, _CALLER, given.random, random), most)


def welcome(
    given: Challenge, proof: Proof, secret: bytes, limits: tuple[int, int], load: int
) -> Welcome:
    """Return the replica's answer. Raises MalformedFrame where the caller lacks the secret."""
    _check(proof.proof, _digest(secret, _CALLER, given.random, proof.random))
    own = _digest(secret, _REPLICA, given.random, proof.random)
    return Welcome(own, *limits, load)


def check_welcome(given: Challenge, proof: Proof, answer: Welcome, secret: bytes) -> None:
    """Raise MalformedFrame where the replica lacks the secret."""
    _check(answer.proof, _digest(secret, _REPLICA, given.random, proof.random))


def encoded(greeting: msgspec.Struct) -> bytes:
    """Return the header of a frame."""
    return msgspec.msgpack.encode(greeting)


def decoded(header: memoryview, cls: type[T]) -> T:
    """Return the greeting in the header of a frame. Raises MalformedFrame."""
    try:
        return msgspec.msgpack.decode(header, type=cls)
    except (msgspec.MsgspecError, RecursionError):
        raise MalformedFrame(f"no {cls.__name__.lower()} came where it should have") from None


def _check(proof: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(proof, expected):
        raise MalformedFrame("the peer does not know the secret")


def _digest(secret: bytes, end: bytes, *randoms: bytes) -> bytes:
    return hmac.digest(secret, b"|".join((end, *randoms)), "sha256")
