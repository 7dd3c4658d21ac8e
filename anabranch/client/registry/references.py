"""References to artefacts in registries: ``oci://host[:port]/name[:tag][@sha256:…]``. Pure.

The grammar of names and tags is that of the OCI Distribution Specification 1.1
(https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from anabranch.errors import InvalidRequest

SCHEME = "oci://"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MAX_MANIFEST = 4 * 2**20
"""Largest manifest, in bytes: what registries take."""
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"oci://(?P<host>[A-Za-z0-9.-]+(?::[0-9]{{1,5}})?|\[[0-9a-fA-F:]+\](?::[0-9]{{1,5}})?)"
    rf"/(?P<name>{_COMPONENT}(?:/{_COMPONENT})*)"
    rf"(?::(?P<tag>{_TAG}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class ImageReference:
    """What a reference names; ``tag`` and ``digest`` are empty where it names none."""

    host: str
    name: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read a reference; InvalidRequest for what is none."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise InvalidRequest(
                f"{text[:300]!r} is no reference to a registry: write "
                "oci://host/name:tag, with a name in lower case, or oci://host/name@sha256:…"
            )
        found = {name: value or "" for name, value in match.groupdict().items()}
        return cls(**found)

    @property
    def wanted(self) -> str:
        """What is asked for: the digest, or else the tag, or else ``latest``."""
        return self.digest or self.tag or "latest"

    @property
    def is_loopback(self) -> bool:
        """Whether the registry runs on this machine."""
        host = self.host.rpartition(":")[0] if _has_port(self.host) else self.host
        try:
            return ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return host == "localhost"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{SCHEME}{self.host}/{self.name}{tag}{digest}"


def is_reference(text: str) -> bool:
    """Tell whether a text is meant as a reference to a registry."""
    return text.startswith(SCHEME)


def _has_port(host: str) -> bool:
    return re.search(r":[0-9]+$", host) is not None and not host.endswith("]")


def check_version(version: str) -> None:
    """Raise InvalidRequest for a version that cannot be a tag in a registry."""
    if version and not re.fullmatch(_TAG, version):
        raise InvalidRequest(
            f"version {version[:300]!r} cannot be a tag in a registry: write up to 128 letters, "
            "digits and `_.-`, the first no `.` and no `-`, such as 1.2.0"
        )
