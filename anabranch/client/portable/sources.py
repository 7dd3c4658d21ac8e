"""Portable bundles by what users name them: a file, or a place in a registry."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from anabranch.client.portable.bundle import PortableBundle, is_bundle, open_bundle
from anabranch.client.registry.references import ImageReference, is_reference

KEYS = "ANABRANCH_BUNDLE_KEYS"
"""Variable that names a file of public keys, of which one must have signed."""


def bundle_of(
    source: str, folder: Path, env: Mapping[str, str] = os.environ
) -> PortableBundle | None:
    """Return the portable bundle that a source is; None where it is the file of a spec.

    One in a registry (``oci://host/name:tag``) is pulled into ``folder``. Raise InvalidRequest
    where it is damaged, and Forbidden where KEYS demands a signature that it does not have.
    """
    bundle = _opened(source, folder)
    keys = env.get(KEYS)
    if bundle is not None and keys:
        from anabranch.client.portable.signing import verified

        verified(bundle, Path(keys))
    return bundle


def _opened(source: str, folder: Path) -> PortableBundle | None:
    if is_reference(source):
        # Its libraries take longer to import than all that serves a small graph.
        from anabranch.client.portable.pushing import pull
        from anabranch.client.registry.registry import RegistryClient

        reference = ImageReference.parse(source)
        with RegistryClient(reference) as registry:
            return pull(reference, registry, folder / "pulled.bundle", lambda text: None)
    return open_bundle(Path(source)) if is_bundle(Path(source)) else None


@contextmanager
def opened(source: str) -> Iterator[tuple[Path, PortableBundle | None]]:
    """Yield the spec of a source, and its bundle if it is one; raise what ``bundle_of`` raises.

    The spec of a bundle is in a folder that is there for the block.
    """
    if not (is_reference(source) or is_bundle(Path(source))):
        yield Path(source), None  # without a folder: in a container there may be none to write to
        return
    with TemporaryDirectory(prefix="anabranch-bundle-") as place:
        bundle = bundle_of(source, Path(place))
        assert bundle is not None
        yield bundle.unpack(Path(place) / "graph"), bundle
