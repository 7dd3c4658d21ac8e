"""Addresses of InferenceServices in a cluster, and the protocols that they speak."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from anabranch.importers.manifests import Manifest

V1, V2 = "v1", "v2"
_MODE = "serving.kserve.io/deploymentMode"
_WITHOUT_KNATIVE = ("Standard", "RawDeployment")
_V2_FORMATS = frozenset(("triton", "vllm"))
_V2_FRAMEWORKS = frozenset(("triton", "onnx", "huggingface"))
"""Predictors that speak V2 unless they say otherwise (inference_service_defaults.go)."""


@dataclass(frozen=True)
class ServiceAddress:
    """An InferenceService: its name and namespace, and the protocol that it speaks."""

    name: str
    namespace: str
    protocol: str = ""
    """Empty if the manifest of the service is not there, or its protocol is neither V1 nor V2."""
    host: str = ""
    """Name of its Kubernetes Service; that of the InferenceService, which Knative routes, if left
    out."""

    @property
    def url(self) -> str:
        """The URL of predictions, as KServe's controller resolves a ``serviceName``.

        See ``GetPredictorEndpoint`` in pkg/controller/v1beta1/inferenceservice/utils/utils.go.
        """
        host = f"http://{self.host or self.name}.{self.namespace}.svc.cluster.local"
        if self.protocol == V2:
            return f"{host}/v2/models/{self.name}/infer"
        return f"{host}/v1/models/{self.name}:predict"


def namespace_of(manifest: Manifest) -> str:
    """Return the namespace of an object."""
    return manifest.namespace or "default"


def addresses(manifests: Iterable[Manifest]) -> dict[tuple[str, str], ServiceAddress]:
    """Return the InferenceServices among manifests by namespace and name."""
    found = {}
    for manifest in manifests:
        if manifest.kind == "InferenceService":
            one = ServiceAddress(
                manifest.name, namespace_of(manifest), _protocol(manifest), _host(manifest)
            )
            found[one.namespace, one.name] = one
    return found


def protocol_of(framework: str, model: Mapping[str, Any]) -> str:
    """Return the protocol of a predictor, given the field that it stands in, and its fields."""
    given = model.get("protocolVersion")
    if isinstance(given, str) and given:
        return given
    named = model.get("modelFormat")
    name = named.get("name") if isinstance(named, Mapping) else None
    if framework == "model":
        return V2 if isinstance(name, str) and name in _V2_FORMATS else V1
    return V2 if framework in _V2_FRAMEWORKS else V1


def container_protocol(container: Any) -> str:
    """Return the protocol in the environment of a container; empty where it has none."""
    env = container.get("env") if isinstance(container, Mapping) else None
    for variable in env if isinstance(env, list) else ():
        if isinstance(variable, Mapping) and variable.get("name") == "PROTOCOL":
            return str(variable.get("value") or V1)
    return ""


def _host(manifest: Manifest) -> str:
    """Return the Kubernetes Service of an InferenceService that does without Knative.

    See ``getRawServiceHost`` in its controller's ``reconcilers/ingress``.
    """
    metadata, spec = manifest.data.get("metadata"), manifest.data.get("spec")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    mode = annotations.get(_MODE) if isinstance(annotations, Mapping) else None
    if mode not in _WITHOUT_KNATIVE or not isinstance(spec, Mapping):
        return ""
    if "transformer" in spec:
        return f"{manifest.name}-transformer"
    predictor = spec.get("predictor")
    variant = predictor.get("name") if isinstance(predictor, Mapping) else None
    return "-".join([manifest.name, *([str(variant)] if variant else []), "predictor"])


def _protocol(manifest: Manifest) -> str:
    spec = manifest.data.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    for part in (spec.get("transformer"), spec.get("predictor")):
        if isinstance(part, Mapping):
            return _protocol_of_part(part)
    return V1


def _protocol_of_part(part: Mapping[str, Any]) -> str:
    for key, value in part.items():
        if isinstance(value, Mapping) and ("storageUri" in value or "modelFormat" in value):
            return protocol_of(key, value)
    containers = part.get("containers")
    found = map(container_protocol, containers if isinstance(containers, list) else ())
    return next(filter(None, found), V1)
