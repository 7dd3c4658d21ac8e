"""Places of models in KServe as ``model`` and ``sha256`` of a node.

Which URIs there are: ``python/storage/kserve_storage/kserve_storage.py``. A URI names a folder, of
which each model server loads the file that it knows; here ``model`` names that file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from anabranch.components.artefacts import uris
from anabranch.importers.artefacts import FETCHED, check_model, credentials_of, digest
from anabranch.importers.fields import Fields

_AZURE = re.compile(r"https://([^./]+)\.blob\.core\.windows\.net/(.+)")
_COPIED = {
    "pvc": "mount the volume claim where the engine runs",
    "hdfs": "copy the model from HDFS",
    "webhdfs": "copy the model from HDFS",
    "oci": "copy the model out of the image",
    "oci+fetch": "copy the model out of the image",
    "oci+native": "copy the model out of the image",
    "git": "copy the model out of the repository",
    "modelscope": "download the model from ModelScope",
}
"""Schemes that are not fetched here, and what to do instead."""


def model_fields(
    fields: Fields,
    file: str,
    suffixes: Sequence[str] = (),
    runs_code: bool = False,
    part: Fields | None = None,
) -> dict[str, Any]:
    """Return ``model``, and ``sha256`` where the language needs it; note the fields of the place.

    ``part`` is the component that the model belongs to, which may say the place in its stead.
    ``file`` is what the server loads of a folder, empty for the folder itself, and ``suffixes`` are
    those of such files: a URI that ends in one names the file already.
    """
    key, uri = _place(fields)
    if part is not None and part.has("storageUris"):
        if uri:
            part.mistake("storageUri and storageUris exclude each other", "storageUris")
        fields, key, uri = part, "storageUris", _first_of_several(part)
    if not uri:
        where = file or "a folder `model`"
        fields.to_do(f"says no place of the model: put {where} beside `graph.yaml`")
        return {"model": file or "model"}
    model = _model(fields, key, uri, file, tuple(suffixes))
    check_model(fields, key, model)
    if not runs_code or not uris.is_uri(model):
        return {"model": model}
    return {"model": model, "sha256": digest(fields, key, model)}


def note_elsewhere(*owners: Fields) -> None:
    """Note the place of a model that the server of the service goes on to load."""
    for fields in owners:
        for key in ("storageUri", "storage", "storageUris"):
            if fields.has(key):
                fields.asked.add(key)
                fields.reworded("the model of the server that goes on", key)


def hub_model(fields: Fields, name: str) -> dict[str, Any]:
    """Return the ``model`` of Hugging Face's hub that an argument of the server names."""
    if "/" not in name:
        fields.to_do(f"name the owner of `{name}` on the hub", "args")
        name = f"owner/{name}"
    return {"model": f"hf://{name}"}


def has_place(*owners: Fields) -> bool:
    """Tell whether a model or its component says where it is."""
    keys = ("storageUri", "storage", "storageUris")
    return any(fields.has(key) for fields in owners for key in keys)


def _place(fields: Fields) -> tuple[str, str]:
    """Return the field with the place of a model, and the place as a URI; empty for none."""
    uri = fields.text("storageUri").strip()
    storage = fields.within("storage")
    if uri:
        if fields.has("storage"):
            _note_storage(storage)
        return "storageUri", uri
    if fields.has("storage"):
        return "storage", _of_storage(storage)
    return "storageUri", ""


def _first_of_several(part: Fields) -> str:
    given = part.each("storageUris")
    for index, one in enumerate(given):
        one.text("mountPath")
        if index:
            one.left_out("a node has one model; name others in `env` and read them in a component")
        one.reworded("models are where the engine has put them", "mountPath")
    return given[0].required("uri") if given else ""


def _of_storage(storage: Fields) -> str:
    """Return the URI of a ``storage``: its bucket may be in a secret, so that it is unknown."""
    path = storage.text("path").strip("/")
    parameters = storage.texts("parameters")
    _note_storage(storage)
    kind = parameters.get("type", "s3")
    bucket = parameters.get("bucket", "")
    if kind not in ("s3", "gs", "hf") or not bucket:
        storage.to_do("write the bucket of the storage secret into `model` of the node", "path")
    return f"{kind if kind in ('gs', 'hf') else 's3'}://{bucket or 'bucket'}/{path}"


def _note_storage(storage: Fields) -> None:
    storage.text("path")
    key = storage.text("key")
    if key:
        said = "an entry of the secret storage-config: set the variables of the store instead"
        storage.to_do(said, "key")
    if storage.has("parameters"):
        storage.texts("parameters")
        storage.reworded("part of the URI of the model", "parameters")
    storage.reworded("part of the URI of the model", "path")
    storage.leave_out({"schemaPath": "types are the graph's `inputs`"})
    storage.finish()


def _model(fields: Fields, key: str, uri: str, file: str, suffixes: tuple[str, ...]) -> str:
    scheme, separator, rest = uri.partition("://")
    to_copy = ""
    if not separator:
        place = f"file://{uri}" if uri.startswith("/") else uri
    elif (azure := _AZURE.fullmatch(uri)) is not None:
        fields.to_do(f"set AZURE_STORAGE_ACCOUNT_NAME={azure[1]} for the engine", key)
        place = f"az://{azure[2]}"
    elif scheme in _COPIED:
        place = f"file:///mnt/{scheme.partition('+')[0]}/{rest.strip('/')}"
        to_copy = _COPIED[scheme]
    elif scheme == "file":
        place = f"file:///{rest.lstrip('/')}"
    elif scheme in FETCHED:
        place = uri
    else:
        place = f"file:///mnt/models/{rest.strip('/')}"
        to_copy = f"{scheme}:// is of a storage container of the cluster: copy the model"
    model = _with_file(place, file, suffixes)
    if to_copy:
        fields.to_do(f"{to_copy}, so that `{model}` is there", key)
    else:
        fields.same(f"`model: {uris.redacted(model)}`, the file that the server loads", key)
    return model


def _with_file(uri: str, file: str, suffixes: tuple[str, ...]) -> str:
    plain = uri.rstrip("/")
    if not file or plain.lower().endswith(suffixes or (file,)):
        return plain
    if plain.startswith(("http://", "https://")):
        # KServe unpacks what it fetches from a web server, where that is an archive.
        return f"{plain}#{file}" if uris.is_archive(uris.filename(plain)) else f"{plain}/{file}"
    return f"{plain}/{file}"


def credentials(pod: Fields, model: str) -> None:
    """Note the service account of a pod, by which KServe finds credentials of stores."""
    name = pod.text("serviceAccountName")
    variables = credentials_of(model)
    if not name:
        return
    if variables:
        pod.to_do(f"set {variables} in the environment of `anabranch up`", "serviceAccountName")
    else:
        pod.reworded("no store of this graph needs credentials", "serviceAccountName")
