"""Settings of an engine, read from its environment; all its Ray processes read the same.

Durations (`10m`, `30d`) and sizes (`64MiB`) take the units of the spec; a bare number is in seconds
or bytes.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_HOME | folder of the store, the token, bundles, environments and logs | ~/.anabranch |
| ANABRANCH_STORE | SQLAlchemy URL of the store | a SQLite file in the home |
| ANABRANCH_HTTP_HOST, ANABRANCH_HTTP_PORT | where the engine answers | 127.0.0.1, 8000 |
| ANABRANCH_GRPC_PORT | port of the gRPC server, on the same host | 9000 |
| ANABRANCH_ANONYMOUS | roles of callers without a key, or `none` | `invoker,feedback` on loopback |
| ANABRANCH_PROTOCOLS | of all graphs: `seldon`, `v1`, `openai`, `json`, `document` | none |
| ANABRANCH_INGRESS | which machines take requests: `every`, `head`, or labels | every |
| ANABRANCH_HAPROXY | HAProxy of the edge: 2.8 or newer, Lua, for TLS OpenSSL | Ray's or PATH's |
| ANABRANCH_MAX_BODY | largest body of a request | 64MiB |
| ANABRANCH_CONNECTIONS | most connections of clients at the edge, over HTTP and gRPC | 4096 |
| ANABRANCH_SOURCE_CONNECTIONS | most of these from one address, of which half may lie idle | 2048 |
| ANABRANCH_MAX_BUNDLE | largest bundle, packed or not | 1GiB |
| ANABRANCH_DEPLOY_TIMEOUT | longest time until a revision must be healthy | 10m |
| ANABRANCH_AUTOSCALING | 1 if machines may be added, which revisions then wait for | 0 |
| ANABRANCH_INSTALL_TIMEOUT | longest time to install a bundle's requirements.txt | 10m |
| ANABRANCH_GRACE | how long a replaced or aborted revision stays up | 10m |
| ANABRANCH_MAX_WARM | most such revisions at a time, of all graphs; the oldest go first | 16 |
| ANABRANCH_MAX_WARM_MEMORY | most memory of these on the engine's machine | a quarter of it |
| ANABRANCH_BUNDLE_KEYS | file of public keys, in PEM; bundles must be signed by one | none |
| ANABRANCH_BUNDLE_AGE | how long a bundle is kept that no revision uses | 1d |
| ANABRANCH_BUNDLE_STORE | URL of a folder, such as s3://bucket/x, for bundles of clusters | none |
| ANABRANCH_BUNDLE_TOTAL | size of all bundles; the oldest that no revision uses go first | none |
| ANABRANCH_ENVIRONMENT_AGE | how long an environment is kept that nothing uses | 30d |
| ANABRANCH_ENVIRONMENT_TOTAL | size of all environments; the oldest unused go first | none |
| ANABRANCH_MAX_REVISIONS | most of a graph that do not run; the oldest leave the record | 1000 |
| ANABRANCH_REVISION_AGE | how long such a revision stays on record | none |
| ANABRANCH_EVENT_AGE | how long an event is kept | 90d |
| ANABRANCH_MAX_EVENTS | most events; the oldest go | 100000 |
| ANABRANCH_PROMETHEUS | URL of the Prometheus server that `promql` asks | none |
| ANABRANCH_GRAFANA | URL of Grafana; the console links to its dashboards of anabranch | none |
| ANABRANCH_WEBHOOKS | URLs below which webhooks and gates may be called, by comma | none |
| ANABRANCH_WEBHOOK_FORM | form of calls to webhooks: json, or cloudevents | json |
| ANABRANCH_JOBS | paths and URLs for batch jobs, by comma; `team=/srv` for one namespace | none |
| ANABRANCH_REQUEST_LOGS | URLs below which request logs may go, by comma | none |
| ANABRANCH_ASYNC_AGE | how long the reply to an asynchronous request is kept | 1d |
| ANABRANCH_ASYNC_TOTAL | size of all asynchronous requests and their replies | 1GiB |
| ANABRANCH_CACHE_URL | Redis of caches with `store: redis`, such as redis://host:6379/0 | none |

Those about TLS are in ``control.settings.tls``, those about models that come by URI in
``components.artefacts.settings``, about traces in ``telemetry.trace_settings``, about logs in
``telemetry.log_settings``, about processes of graphs in ``process_bounds``, the others about
request logs in ``router.request_log.settings``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, TypeAlias, get_args

from anabranch.access.roles import ROLES, Role, roles_in
from anabranch.client.bundle.keys import read_keys
from anabranch.client.bundle.packing import MAX_BYTES, max_bytes
from anabranch.components.artefacts.kept import bundle_store
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.control.settings.destinations import HTTP, parse
from anabranch.control.settings.ingress import EXPECTED as INGRESS_EXPECTED
from anabranch.control.settings.ingress import Ingress
from anabranch.control.settings.job_places import EXPECTED as JOB_PLACES
from anabranch.control.settings.job_places import JobPlace, read_places
from anabranch.control.settings.log_sinks import SCHEMES
from anabranch.control.settings.process_bounds import ProcessBounds, machine_memory
from anabranch.control.settings.tls import tls_files
from anabranch.environment import Environment, listed, number
from anabranch.errors import ArtefactError, EngineError
from anabranch.router.http.access import is_loopback
from anabranch.router.http.doors.engine_protocols import engine_protocols
from anabranch.router.request_log.settings import LogSettings
from anabranch.serve.cache.opening import URL
from anabranch.serve.edge.crowding import ConnectionLimits
from anabranch.serve.edge.tls.certificates import TlsFiles
from anabranch.specs.units import read_bytes, read_seconds
from anabranch.telemetry.log_settings import LogBounds
from anabranch.telemetry.trace_settings import TraceSettings

WebhookForm: TypeAlias = Literal["json", "cloudevents"]
_DAY = 86_400.0
_FEWEST_CONNECTIONS = 16


@dataclass(frozen=True)
class Settings:
    """Settings of one engine; sizes in bytes, times in seconds."""

    home: Path
    store: str
    http_host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 9000
    anonymous: tuple[Role, ...] = ("invoker", "feedback")
    ingress: Ingress = field(default_factory=Ingress)
    tls: TlsFiles | None = None
    max_body: int = 64 * 2**20
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    max_bundle: int = MAX_BYTES
    deploy_timeout: float = 600.0
    autoscaling: bool = False
    install_timeout: float = 600.0
    grace: float = 600.0
    max_warm: int = 16
    max_warm_memory: float = field(default_factory=lambda: machine_memory() / 4)
    bundle_keys: Path | None = None
    bundle_store: str = ""
    """URL of a store of bundles that all machines of the cluster reach; empty for none."""
    bundle_age: float = _DAY
    bundle_total: float = math.inf
    environment_age: float = 30 * _DAY
    environment_total: float = math.inf
    max_revisions: int = 1000
    revision_age: float = math.inf
    event_age: float = 90 * _DAY
    max_events: int = 100_000
    prometheus: str = ""
    grafana: str = ""
    webhooks: tuple[str, ...] = ()
    webhook_form: WebhookForm = "json"
    request_logs: tuple[str, ...] = ()
    jobs: tuple[JobPlace, ...] = ()
    """Paths and URLs below which batch jobs may read and write."""
    async_age: float = _DAY
    async_total: float = 2.0**30
    cache_url: str = ""
    """URL of a Redis, which may hold a password; empty for none."""
    artefacts: ArtefactSettings = field(default_factory=ArtefactSettings.from_env)
    traces: TraceSettings = field(default_factory=TraceSettings)
    logs: LogBounds = field(default_factory=LogBounds)
    processes: ProcessBounds = field(default_factory=ProcessBounds)
    is_cluster: bool = False
    """Whether replicas may run on machines that share no folder with the engine's."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read ``env``; EngineError names a variable that is not what it must be."""
        LogSettings.from_env(env)  # here too, so that what is wrong is said by `up`
        engine_protocols(env)
        variables = Environment(env)
        home = variables.home
        return cls(
            home=home,
            store=store_url(env, home),
            http_host=variables.text("ANABRANCH_HTTP_HOST", cls.http_host),
            http_port=int(_number(variables, "ANABRANCH_HTTP_PORT", cls.http_port)),
            grpc_port=int(_number(variables, "ANABRANCH_GRPC_PORT", cls.grpc_port)),
            anonymous=_anonymous(variables),
            ingress=variables.read("ANABRANCH_INGRESS", Ingress.parse, Ingress(), INGRESS_EXPECTED),
            tls=tls_files(env),
            max_body=int(read_bytes(variables, "ANABRANCH_MAX_BODY", cls.max_body)),
            connections=_connections(variables),
            max_bundle=max_bytes(env),
            deploy_timeout=read_seconds(variables, "ANABRANCH_DEPLOY_TIMEOUT", cls.deploy_timeout),
            autoscaling=variables.read("ANABRANCH_AUTOSCALING", _switch, cls.autoscaling, "0 or 1"),
            install_timeout=read_seconds(
                variables, "ANABRANCH_INSTALL_TIMEOUT", cls.install_timeout
            ),
            grace=read_seconds(variables, "ANABRANCH_GRACE", cls.grace),
            max_warm=_whole(variables, "ANABRANCH_MAX_WARM", cls.max_warm),
            max_warm_memory=read_bytes(
                variables, "ANABRANCH_MAX_WARM_MEMORY", machine_memory() / 4
            ),
            bundle_keys=variables.read("ANABRANCH_BUNDLE_KEYS", _key_file, cls.bundle_keys),
            bundle_store=bundle_store_url(env),
            bundle_age=read_seconds(variables, "ANABRANCH_BUNDLE_AGE", cls.bundle_age),
            bundle_total=read_bytes(variables, "ANABRANCH_BUNDLE_TOTAL", cls.bundle_total),
            environment_age=read_seconds(
                variables, "ANABRANCH_ENVIRONMENT_AGE", cls.environment_age
            ),
            environment_total=read_bytes(
                variables, "ANABRANCH_ENVIRONMENT_TOTAL", cls.environment_total
            ),
            max_revisions=_whole(variables, "ANABRANCH_MAX_REVISIONS", cls.max_revisions),
            revision_age=read_seconds(variables, "ANABRANCH_REVISION_AGE", cls.revision_age),
            event_age=read_seconds(variables, "ANABRANCH_EVENT_AGE", cls.event_age),
            max_events=_whole(variables, "ANABRANCH_MAX_EVENTS", cls.max_events),
            prometheus=_url(variables, "ANABRANCH_PROMETHEUS"),
            grafana=_url(variables, "ANABRANCH_GRAFANA"),
            webhooks=_urls(variables, "ANABRANCH_WEBHOOKS"),
            webhook_form=variables.read(
                "ANABRANCH_WEBHOOK_FORM", _webhook_form, cls.webhook_form, "json or cloudevents"
            ),
            request_logs=_urls(variables, "ANABRANCH_REQUEST_LOGS", SCHEMES),
            jobs=variables.read("ANABRANCH_JOBS", read_places, cls.jobs, JOB_PLACES),
            async_age=read_seconds(variables, "ANABRANCH_ASYNC_AGE", cls.async_age),
            async_total=read_bytes(variables, "ANABRANCH_ASYNC_TOTAL", cls.async_total),
            cache_url=variables.read(URL, _redis_url, ""),
            artefacts=_artefacts(env),
            traces=TraceSettings.from_env(env),
            logs=LogBounds.from_env(env),
            processes=ProcessBounds.from_env(env),
            is_cluster=variables.text("ANABRANCH_LOOPBACK") == "0",
        )

    @property
    def url(self) -> str:
        """Where clients on this machine reach the engine."""
        host = "127.0.0.1" if self.http_host in ("0.0.0.0", "::") else self.http_host
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.http_port}"

    @property
    def bundles(self) -> Path:
        """Folder of the bundles, ``<digest>.zip`` each."""
        return self.home / "bundles"

    @property
    def environments(self) -> Path:
        """Folder of the Python environments that bundles with requirements run in."""
        return self.home / "environments"

    @property
    def token_file(self) -> Path:
        """File that holds the token of the control API."""
        return self.home / "token"


def store_url(env: Mapping[str, str], home: Path) -> str:
    """The URL of the store of an engine in ``home``, which may hold a password."""
    return Environment(env).text("ANABRANCH_STORE", f"sqlite:///{home / 'store.db'}")


def bundle_store_url(env: Mapping[str, str]) -> str:
    """The URL of the store of bundles; empty where there is none."""
    expected = f"a URL such as s3://bucket/folder, with one of {', '.join(bundle_store.SCHEMES)}"
    return Environment(env).read("ANABRANCH_BUNDLE_STORE", bundle_store.parse, "", expected)


def _redis_url(text: str) -> str:
    if not re.fullmatch(r"rediss?://[^\s/]+(/[0-9]+)?", text):
        raise ValueError("is not a URL such as redis://host:6379/0")  # it may hold a password
    return text


def _key_file(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    read_keys(path)
    return path


def _anonymous(variables: Environment) -> tuple[Role, ...]:
    """Roles of callers who show nothing: on loopback they may ask, elsewhere nothing at all."""
    host = variables.text("ANABRANCH_HTTP_HOST", Settings.http_host)
    default = Settings.anonymous if is_loopback(host) else ()
    expected = f"`none`, or roles out of {', '.join(ROLES)}"
    return variables.read("ANABRANCH_ANONYMOUS", roles_in, default, expected)


def _connections(variables: Environment) -> ConnectionLimits:
    usual = ConnectionLimits()
    total = int(_number(variables, "ANABRANCH_CONNECTIONS", usual.total))
    source = int(_number(variables, "ANABRANCH_SOURCE_CONNECTIONS", min(usual.per_source, total)))
    for name, value in (("ANABRANCH_CONNECTIONS", total), ("ANABRANCH_SOURCE_CONNECTIONS", source)):
        if value < _FEWEST_CONNECTIONS:
            raise EngineError(f"{name} is {value}, and must be at least {_FEWEST_CONNECTIONS}")
    if source > total:
        raise EngineError(
            f"ANABRANCH_SOURCE_CONNECTIONS is {source}, over the {total} of ANABRANCH_CONNECTIONS"
        )
    return ConnectionLimits(total, source)


def _artefacts(env: Mapping[str, str]) -> ArtefactSettings:
    """Read here too, so that what is wrong is said by `up`, not by every replica."""
    _urls(Environment(env), "ANABRANCH_MLFLOW_TRUSTED")
    try:
        return ArtefactSettings.from_env(env)
    except ArtefactError as error:
        raise EngineError(str(error)) from None


def _number(variables: Environment, name: str, default: float) -> float:
    return variables.read(name, number(), default, "a number of at least 0")


def _whole(variables: Environment, name: str, default: int) -> int:
    def parse(text: str) -> int:
        if not text.isdecimal():
            raise ValueError
        return int(text)

    return variables.read(name, parse, default, "a whole number of at least 0")


def _switch(text: str) -> bool:
    return ("0", "1").index(text) == 1


def _webhook_form(text: str) -> WebhookForm:
    form: WebhookForm
    for form in get_args(WebhookForm):
        if text == form:
            return form
    raise ValueError


def _url(variables: Environment, name: str) -> str:
    urls = _urls(variables, name)
    if len(urls) > 1:
        raise EngineError(f"{name} takes one URL, got {len(urls)}")
    return "".join(urls)


def _urls(variables: Environment, name: str, schemes: Container[str] = HTTP) -> tuple[str, ...]:
    urls = listed(variables.text(name))
    for url in urls:
        place = parse(url, schemes)
        if place is None or place.query:
            raise EngineError(f"{name}: {url!r} is not a URL such as http://host:9090/path")
    return urls
