"""``build``, ``sign``, ``verify``, ``push`` and ``pull``: commands for portable bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anabranch.cli import options
from anabranch.cli.terminal import progress, warn

if TYPE_CHECKING:
    from anabranch.client.portable.bundle import PortableBundle
    from anabranch.client.portable.signing import VerifiedSignature

Target = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="BUNDLE",
        dir_okay=False,
        help="File to write. [default: GRAPH.bundle, or GRAPH-VERSION.bundle, in this folder]",
        show_default=False,
    ),
]


def build(
    file: options.SpecFile,
    target: Target = None,
    version: Annotated[
        str, typer.Option("--version", help="Version of the bundle, such as 1.2.0.")
    ] = "",
    unlocked: Annotated[
        bool,
        typer.Option("--unlocked", help="Take requirements.txt as it is, without a lock."),
    ] = False,
    key: options.SignKey = None,
    home: options.Home = None,
) -> None:
    """Build a portable bundle: a graph, its files and its models, for any engine.

    Models by URI are fetched now, and pinned by digest. requirements.txt becomes a lock with
    digests. The same content gives the same digest.
    """
    from anabranch.client.connection.engine_state import resolve_home
    from anabranch.client.portable.building import build as build_bundle
    from anabranch.client.portable.bundle import is_bundle

    if is_bundle(file):
        raise typer.BadParameter(f"{file} is a portable bundle already: name the spec of a graph")
    with progress(f"building {file}") as say:
        built = build_bundle(
            file, target, resolve_home(home), version=version, unlocked=unlocked, sign=key, say=say
        )
    for warning in built.warnings:
        warn(warning)
    _show(built.bundle)


def sign(
    file: options.BundleFile,
    key: Annotated[
        Path,
        typer.Option("--key", metavar="KEY", help="File with an Ed25519 private key, in PEM."),
    ],
    output: options.Output = options.Format.TABLE,
) -> None:
    """Sign a portable bundle, in its file: its code, its models, and who has built it."""
    from anabranch.client.portable.signing import sign as sign_bundle

    _show(sign_bundle(file, key), output)


def verify(
    file: options.BundleFile,
    keys: Annotated[
        Path,
        typer.Option(
            "--keys",
            metavar="KEYS",
            envvar="ANABRANCH_BUNDLE_KEYS",
            help="File with the Ed25519 public keys that are trusted, in PEM.",
        ),
    ],
    output: options.Output = options.Format.TABLE,
) -> None:
    """Verify a portable bundle: every byte of it, and that a trusted key has signed it."""
    from anabranch.client.portable.bundle import open_bundle
    from anabranch.client.portable.signing import verified

    bundle = open_bundle(file)
    _show(bundle, output, verified(bundle, keys))


def push(
    file: options.BundleFile,
    reference: options.Registry,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Push a portable bundle to an OCI registry, with its signatures.

    Logins are those of `docker login`. Without a tag, the version of the bundle is the tag.
    """
    from anabranch.client.portable.bundle import open_bundle
    from anabranch.client.portable.pushing import push as push_bundle
    from anabranch.client.registry.references import ImageReference
    from anabranch.client.registry.registry import RegistryClient

    to = ImageReference.parse(reference)
    bundle = open_bundle(file)
    with RegistryClient(to) as registry, progress(f"pushing {file}") as say:
        pushed = push_bundle(bundle, to, registry, say)
    found = {"reference": str(pushed), "digest": pushed.digest}
    options.show(found, output, lambda _: str(pushed))


def pull(
    reference: options.Registry,
    target: Target = None,
) -> None:
    """Pull a portable bundle from an OCI registry, with its signatures, and verify its bytes."""
    from anabranch.client.portable.pushing import pull as pull_bundle
    from anabranch.client.registry.references import ImageReference
    from anabranch.client.registry.registry import RegistryClient

    of = ImageReference.parse(reference)
    with RegistryClient(of) as registry, progress(f"pulling {reference}") as say:
        bundle = pull_bundle(of, registry, target, say)
    _show(bundle)


def _show(
    bundle: PortableBundle,
    output: options.Format = options.Format.TABLE,
    signatures: list[VerifiedSignature] | None = None,
) -> None:
    from anabranch.cli.reports.bundles import bundle_text, bundle_view

    options.show(bundle_view(bundle, signatures), output, bundle_text)
