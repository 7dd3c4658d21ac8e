"""Access rules as a document, ``kind: AccessPolicy``: roles for names that are no keys' own.

apiVersion: anabranch/v1
kind: AccessPolicy
anonymous:
  - {role: invoker, graphs: [demo-*]}
rules:
  - {certificate: trainer, role: deployer, graphs: [digits]}
  - {key: ci, role: operator}
  - {group: data-science, role: deployer, graphs: [team-a/*]}
limits:
  - {caller: ci, rate: 100, burst: 200, in_flight: 8}
  - {graphs: [demo-*], rate: 10}
issuers:
  - {issuer: "https://login.example.com", audience: [anabranch]}
namespaces:
  team-a: {graphs: 10, replicas: 20, cpu: 8, gpu: 1, memory: 32GiB}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, get_args

from pydantic import Field

from anabranch.access.limits import NO_LIMITS, CallerLimits, LimitRule
from anabranch.access.roles import EVERY, PATTERN, Grant, Role
from anabranch.access.table import Bound
from anabranch.control.access.issuers import MAX_ISSUERS, TrustedIssuer, mistakes_of
from anabranch.errors import Mistake, SpecError
from anabranch.names import PART
from anabranch.specs.loader import parse
from anabranch.specs.messages import mistakes
from anabranch.specs.models import Model
from anabranch.specs.units import Size

Pattern = Annotated[str, Field(pattern=PATTERN)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Namespace = Annotated[str, Field(pattern=rf"^{PART}$")]
Graphs = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=64, strict=False)]
BOUND: tuple[Bound, ...] = get_args(Bound)


class AccessRule(Model):
    """A role for some graphs."""

    role: Role
    """What it allows."""
    graphs: Graphs = (EVERY,)
    """Names of graphs, in which ``*`` stands for any number of characters."""

    def grants(self) -> Iterator[Grant]:
        """Return the role for each pattern."""
        return (Grant(self.role, graphs) for graphs in self.graphs)


class NamedRule(AccessRule):
    """A role for whoever has a name: exactly one of the four."""

    key: Name | None = None
    """Name of an API key, which has this role beside its own."""
    certificate: Name | None = None
    """Common name of a client's certificate."""
    subject: Name | None = None
    """Subject of a JWT."""
    group: Name | None = None
    """Group of a JWT's subject."""

    @property
    def who(self) -> list[tuple[Bound, str]]:
        """The names that are given."""
        found = ((kind, getattr(self, kind)) for kind in BOUND)
        return [(kind, name) for kind, name in found if name is not None]


class CallerLimit(Model):
    """How much a caller may ask of each of some graphs; at least one of the four."""

    caller: Name | None = None
    """Name of a key, a certificate or a subject; each caller that no rule names if left out."""
    graphs: Graphs = (EVERY,)
    """Names of graphs, in which ``*`` stands for any number of characters."""
    rate: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    """Requests a second."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests that may come at once; as many as in a second if left out."""
    in_flight: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests under way."""
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Parts of the answers that stream, a minute."""

    @property
    def limits(self) -> CallerLimits:
        """The limits as routers hold them; ValueError where they make no sense."""
        return CallerLimits(self.rate, self.burst, self.in_flight, self.tokens_per_minute)

    def rules(self) -> Iterator[LimitRule]:
        """Return the limits for each pattern."""
        return (LimitRule(self.caller, graphs, self.limits) for graphs in self.graphs)


class NamespaceQuota(Model):
    """The most that all graphs of a namespace may take together; without a bound where left out.

    Each revision that is up or on its way takes all replicas that its scaling allows.
    """

    graphs: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Graphs that run, or are unloaded."""
    replicas: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Processes."""
    cpu: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    """Logical CPUs, such as 0.5 or 8."""
    gpu: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    """GPUs."""
    memory: Size | None = None
    """Memory, such as 32GiB."""


class Policy(Model):
    """The access rules of an engine, and the quotas of namespaces."""

    apiVersion: Literal["anabranch/v1"] = "anabranch/v1"
    kind: Literal["AccessPolicy"] = "AccessPolicy"
    anonymous: tuple[AccessRule, ...] | None = Field(None, max_length=64, strict=False)
    """Roles of callers who show nothing; those of the engine's settings where it is left out."""
    rules: tuple[NamedRule, ...] = Field((), max_length=10_000, strict=False)
    """Roles of names."""
    issuers: tuple[TrustedIssuer, ...] = Field((), max_length=MAX_ISSUERS, strict=False)
    """Whose JWTs count."""
    limits: tuple[CallerLimit, ...] = Field((), max_length=10_000, strict=False)
    """How much callers may ask; of the rules that fit a caller and a graph the first counts."""
    namespaces: dict[Namespace, NamespaceQuota] = Field({}, max_length=10_000)
    """Quotas by namespace; ``default`` is that of graphs whose names have none."""


def read_policy(text: bytes | str, file: str = "the policy") -> Policy:
    """Read a policy in YAML or JSON; SpecError lists all its mistakes with their places."""
    document = parse(text, file)
    said = mistakes(Policy, document.data)
    if not said:
        policy = Policy.model_validate(document.data)
        said = [*_ambiguous(policy.rules), *mistakes_of(policy.issuers), *_senseless(policy.limits)]
    problems = [*document.problems, *(document.problem(path, text) for path, text in said)]
    if problems:
        raise SpecError(problems)
    return Policy.model_validate(document.data)


def _senseless(limits: Iterable[CallerLimit]) -> Iterator[Mistake]:
    for number, one in enumerate(limits):
        try:
            if one.limits == NO_LIMITS:
                yield ("limits", number), "says no limit: give rate, in_flight or tokens_per_minute"
        except ValueError as error:
            yield ("limits", number), str(error)


def _ambiguous(rules: Iterable[NamedRule]) -> Iterator[Mistake]:
    for number, rule in enumerate(rules):
        if len(rule.who) != 1:
            names = ", ".join(kind for kind, _ in rule.who) or "none"
            yield (
                ("rules", number),
                f"a rule names exactly one of {', '.join(BOUND)}; this one names {names}",
            )
