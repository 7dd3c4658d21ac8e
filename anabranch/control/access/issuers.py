"""Issuers of JWTs in an access policy, and the checks of what is said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field

from anabranch.access.issuers import Algorithm, Issuer, IssuerKey
from anabranch.control.settings.destinations import parse
from anabranch.errors import Mistake
from anabranch.router.http.access import is_loopback
from anabranch.specs.models import Model

DISCOVERY = "/.well-known/openid-configuration"
"""Path below an issuer's URL (OpenID Connect Discovery 1.0, 4)."""
MAX_ISSUERS = 16
Text = Annotated[str, Field(min_length=1, max_length=256)]
Url = Annotated[str, Field(min_length=1, max_length=2048)]
Audience = Annotated[
    tuple[Text, ...],
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
    Field(min_length=1, max_length=16, strict=False),
]


class TrustedIssuer(Model):
    """An issuer whose JWTs count."""

    issuer: Url
    """The claim ``iss`` of its tokens: its URL, unless ``jwks`` is given."""
    audience: Audience
    """A token must be meant for this, or for one of these: its claim ``aud``."""
    jwks: Url | None = None
    """Its keys as a JWK set (RFC 7517): an https URL, or the path of a file where the controller
    runs. Where it is left out, the issuer tells by OpenID Connect Discovery."""
    subject: Text = "sub"
    """The claim that names who asks; dots lead into maps where there is no claim of that name."""
    groups: Text = "groups"
    """The claim that lists their groups, found likewise."""
    prefix: Annotated[str, Field(max_length=64)] = ""
    """What stands before the names of its subjects and groups in rules. With several issuers
    each needs one, for one might give out a name of another."""
    algorithms: Annotated[
        tuple[Algorithm, ...], Field(min_length=1, max_length=10, strict=False)
    ] = ("RS256", "ES256")
    """The signatures that count."""

    def with_keys(self, keys: Sequence[IssuerKey]) -> Issuer:
        """Return the issuer as the access table has it."""
        return Issuer(
            self.issuer, self.audience, self.subject, self.groups, self.prefix, self.algorithms,
            tuple(keys),
        )  # fmt: skip

    @property
    def is_here(self) -> bool:
        """Whether the issuer itself runs on this machine."""
        found = parse(self.issuer)
        return found is not None and is_loopback(found.host)


def may_be_asked(url: str, trusted: TrustedIssuer) -> bool:
    """Return whether a URL may be asked for keys: by https, or on loopback if the issuer is.

    Keys that travel without TLS are whoever's who stands in between.
    """
    found = parse(url)
    if found is None:
        return False
    here = is_loopback(found.host)
    return found.scheme == "https" or (here and (trusted.is_here or url == trusted.jwks))


def mistakes_of(issuers: Sequence[TrustedIssuer]) -> Iterator[Mistake]:
    """Yield what is wrong with issuers that are well-formed, and where."""
    names = [one.issuer for one in issuers]
    for number, one in enumerate(issuers):
        if one.issuer in names[:number]:
            yield ("issuers", number, "issuer"), f"{one.issuer!r} is there twice"
        yield from _unreachable(number, one)
        if len(issuers) > 1:
            yield from _ambiguous(number, issuers)


def _unreachable(number: int, one: TrustedIssuer) -> Iterator[Mistake]:
    field, url = ("issuer", one.issuer) if one.jwks is None else ("jwks", one.jwks)
    is_file = field == "jwks" and url.startswith("/")
    if not is_file and not may_be_asked(url, one):
        kinds = "an https URL, or http on loopback"
        kinds += " (or give `jwks`)" if field == "issuer" else ", or the absolute path of a file"
        yield ("issuers", number, field), f"keys are asked for at {kinds}; this is {url!r}"


def _ambiguous(number: int, issuers: Sequence[TrustedIssuer]) -> Iterator[Mistake]:
    own, where = issuers[number].prefix, ("issuers", number, "prefix")
    if not own:
        yield where, "of several issuers each needs a prefix, for they may share names"
        return
    for other in (one for place, one in enumerate(issuers) if place != number):
        if other.prefix and own.startswith(other.prefix):
            yield where, f"{own!r} begins with the prefix of {other.issuer!r}"
