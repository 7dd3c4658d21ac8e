"""Builds an image that serves a graph in one process: base, packages, anabranch, the graph."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import Distribution
from pathlib import Path

from packaging.utils import canonicalize_name

from anabranch.client.image.base import (
    PYTHON,
    ImageBase,
    base_from,
    base_of_this_machine,
    programs_in,
)
from anabranch.client.image.bytecode import with_bytecode
from anabranch.client.image.distributions import (
    OWN,
    closure,
    distributions_of_modules,
    entries_of_distributions,
)
from anabranch.client.image.layers import Content, ImageLayer, SymbolicLink, entries_of, write_layer
from anabranch.client.image.layout import (
    ImageConfig,
    blobs_of,
    checked_tag,
    config_document,
    pack_layout,
    write_layout,
)
from anabranch.client.portable.building import build
from anabranch.client.portable.bundle import SUFFIX, PortableBundle
from anabranch.client.portable.formats import TITLE, VERSION
from anabranch.client.portable.locking import REQUIREMENTS, requirements
from anabranch.client.portable.sbom import bill
from anabranch.client.portable.sources import bundle_of
from anabranch.components.artefacts.digests import file_digest
from anabranch.errors import DeployError, InvalidRequest
from anabranch.files import disk_errors
from anabranch.graph.compile.loading import open_graph
from anabranch.router.standalone.access import anonymous_roles
from anabranch.router.standalone.server import PORT

PROBE_S = 600.0
"""Longest time for loading the graph once, in seconds."""
_ROOT = "opt/anabranch"
_SITE = f"{_ROOT}/lib/{PYTHON}/site-packages"
_GRAPH = "graph"
_ENV = {
    "ANABRANCH_HOME": "/tmp/anabranch",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PATH": f"/{_ROOT}/bin:/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
_HEALTH = (
    "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/v2/health/ready', timeout=4)"
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built: its digest, its tag, and the bytes of its layers."""

    digest: str
    tag: str
    size: int
    packages: Sequence[str]
    """``name==version`` of the Python packages in it."""


def containerize(
    source: str,
    target: Path,
    home: Path,
    *,
    base: Path | None = None,
    tag: str = "",
    anonymous: str = "",
    packages: Sequence[str] = (),
    say: Say = lambda text: None,
) -> BuiltImage:
    """Write an OCI image layout that serves a graph to ``target``.

    ``source`` is the file of a spec or of a portable bundle, or a bundle's place in a registry;
    ``target`` is a new folder, or a file that ends in ``.tar``. The image gets the Python packages
    of this environment that the graph imports when it is loaded and asked, those of its
    ``requirements.txt``, and ``packages``, each with what it requires. ``anonymous`` are roles of
    callers without a key. ``home`` is that of the engine in use, which no image holds.

    Raise InvalidRequest, SpecError, DeployError where the graph does not load, EngineError where
    the base cannot be put together, and StorageError where there is no room.
    """
    if target.exists():
        raise InvalidRequest(f"{target} is there already: name a new folder or tar file by -o")
    anonymous_roles(anonymous or "none")
    tag = checked_tag(tag) if tag else ""
    with _bundle(source, home, say) as (bundle, root), _draft_of(target) as folder:
        scratch = root.parent / "scratch"
        scratch.mkdir()
        draft = _ImageDraft(bundle, root, folder, scratch, say)
        return draft.write(base, tag or checked_tag(_tag_of(bundle)), anonymous, packages)


@contextmanager
def _bundle(source: str, home: Path, say: Say) -> Iterator[tuple[PortableBundle, Path]]:
    """Yield a portable bundle, which is built of a spec, and a folder with what it holds."""
    with tempfile.TemporaryDirectory(prefix="anabranch-image-") as name:
        place = Path(name)
        bundle = (
            bundle_of(source, place)
            or build(Path(source), place / f"built{SUFFIX}", home, unlocked=True, say=say).bundle
        )
        bundle.unpack(place / _GRAPH)
        yield bundle, place / _GRAPH


@contextmanager
def _draft_of(target: Path) -> Iterator[Path]:
    """Yield a folder for the layout, which becomes the target once the block is through."""
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as place:
            folder = Path(place) / "layout"
            folder.mkdir()
            yield folder
            if target.suffix == ".tar":
                packed = Path(place) / "packed"
                pack_layout(folder, packed)
                folder = packed
            folder.rename(target)


def _tag_of(bundle: PortableBundle) -> str:
    return f"{bundle.manifest.graph}:{bundle.manifest.version or 'latest'}"


class _ImageDraft:
    """An image on its way into the layout in ``folder``."""

    def __init__(
        self, bundle: PortableBundle, root: Path, folder: Path, scratch: Path, say: Say
    ) -> None:
        self._bundle, self._root = bundle, root
        self._folder, self._scratch, self._say = folder, scratch, say
        self._blobs = blobs_of(folder)
        self._spec = root / bundle.manifest.spec

    def write(
        self, base: Path | None, tag: str, anonymous: str, packages: Sequence[str]
    ) -> BuiltImage:
        """Write everything; raises as ``containerize``."""
        found = self._distributions(packages)
        own, others = found.pop(OWN), found
        entries = entries_of_distributions(others, _SITE)
        self._say("packing the base")
        start = self._base(base, entries)
        self._say("packing the Python packages")
        layers = [
            *start.layers,
            self._layer(entries, "Python packages", compiled=True),
            self._layer(self._own(own, others, start), "anabranch", compiled=True),
            self._layer(entries_of(self._root, _GRAPH), f"graph {self._bundle.manifest.graph}"),
        ]
        labels = self._labels()
        config = config_document(self._config(start, anonymous, labels), layers)
        manifest = write_layout(self._folder, config, layers, tag, labels)
        size = sum(layer.blob.size for layer in layers)
        pins = [f"{name}=={one.version}" for name, one in {**others, OWN: own}.items()]
        return BuiltImage(manifest.digest, tag, size, sorted(pins))

    def _distributions(self, packages: Sequence[str]) -> dict[str, Distribution]:
        self._say("loading the graph, to see what it imports")
        text = self._bundle.files.get(REQUIREMENTS, b"").decode("utf-8", "replace")
        named = [line for line in requirements(text) if not line.startswith("-")]
        wanted = [_name_in(line) for line in (*named, *packages)]
        return closure([OWN, *wanted, *distributions_of_modules(self._imported())])

    def _imported(self) -> list[str]:
        target = self._scratch / "modules.json"
        module = "anabranch.client.image.probe"
        command = [sys.executable, "-m", module, str(self._spec), str(target)]
        try:
            done = subprocess.run(command, timeout=PROBE_S, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DeployError(f"the graph is not loaded after {PROBE_S:g} seconds") from None
        if done.returncode or not target.exists():
            raise DeployError(f"the graph does not load: {done.stderr.strip()[-500:]}")
        found = json.loads(target.read_text())
        if isinstance(found, dict):
            raise DeployError(f"the graph does not load: {found['error']}")
        return list(found)

    def _base(self, base: Path | None, entries: dict[str, Content]) -> ImageBase:
        if base is not None:
            return base_from(base, self._blobs, self._scratch)
        place = self._scratch / "standard"
        place.mkdir()
        return base_of_this_machine(self._blobs, place, programs_in(entries))

    def _own(
        self, own: Distribution, others: dict[str, Distribution], base: ImageBase
    ) -> dict[str, Content]:
        """Return the layer of anabranch itself, with the environment's frame and its bill."""
        home = str(Path(base.python).parent)
        version = sys.version.split()[0]
        settings = f"home = {home}\ninclude-system-site-packages = false\nversion = {version}\n"
        return {
            **entries_of_distributions({OWN: own}, _SITE),
            f"{_ROOT}/bin/python": SymbolicLink(base.python),
            f"{_ROOT}/bin/{OWN}": _script(own).encode(),
            f"{_ROOT}/pyvenv.cfg": settings.encode(),
            f"{_ROOT}/sbom.json": self._bill({**others, OWN: own}, base),
        }

    def _bill(self, found: dict[str, Distribution], base: ImageBase) -> bytes:
        files = {path: file_digest(source) for path, source in base.libraries.items()}
        files |= {f"{_GRAPH}/{path}": sha256(data).hexdigest()
                  for path, data in self._bundle.files.items()}  # fmt: skip
        lock = "\n".join(f"{name}=={one.version}" for name, one in found.items())
        return bill(self._bundle.manifest, files, lock)

    def _layer(
        self, entries: dict[str, Content], about: str, *, compiled: bool = False
    ) -> ImageLayer:
        if not compiled:
            return write_layer(self._blobs, entries, about)
        place = Path(tempfile.mkdtemp(dir=self._scratch))
        layer = write_layer(self._blobs, with_bytecode(entries, place), about)
        shutil.rmtree(place)
        return layer

    def _labels(self) -> dict[str, str]:
        manifest = self._bundle.manifest
        found = {TITLE: manifest.graph, VERSION: manifest.version}
        found["anabranch.bundle"] = manifest.code
        return {name: text for name, text in found.items() if text}

    def _config(self, base: ImageBase, anonymous: str, labels: dict[str, str]) -> ImageConfig:
        port = open_graph(self._spec).plan.port or PORT
        python, program = (f"/{_ROOT}/bin/{name}" for name in ("python", "anabranch"))
        spec = f"/{_GRAPH}/{self._bundle.manifest.spec}"
        asked = {"ANABRANCH_ANONYMOUS": anonymous} if anonymous else {}
        return ImageConfig(
            [program, "serve", spec, "--host", "0.0.0.0"],
            port,
            f"/{_GRAPH}",
            {**base.env, **_ENV, **asked},
            labels,
            [python, "-c", _HEALTH.format(port=port)],
        )


def _script(own: Distribution) -> str:
    """Return the command of this package, as installers write it."""
    (point,) = own.entry_points.select(group="console_scripts", name=OWN)
    return f"#!/{_ROOT}/bin/python\nfrom {point.module} import {point.attr}\n\n{point.attr}()\n"


def _name_in(line: str) -> str:
    """Return the name of the package that a requirement is about."""
    return canonicalize_name(re.split(r"[\[;=<>!~ @(]", line, maxsplit=1)[0])
