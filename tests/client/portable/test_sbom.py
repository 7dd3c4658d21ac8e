from __future__ import annotations

import json

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from anabranch.client.portable.bundle import BundleManifest
from anabranch.client.portable.sbom import bill
from anabranch.components.artefacts.bundled import BundledArtefact

DIGEST = "ab" * 32
LOCK = f"""\
six==1.17.0 \\
    --hash=sha256:{DIGEST} \\
    --hash=sha256:{"cd" * 32}
Ruamel.yaml[jinja2]==0.18 ; python_version < '3.13'
./wheels/tinydep.whl
anything>=1
"""
MANIFEST = BundleManifest(
    "team/fruit",
    "graph.yaml",
    DIGEST,
    {
        "https://user@host/a%20model.onnx?token=secret": BundledArtefact("m.onnx", DIGEST, 5),
        "models:/fruit@champion": BundledArtefact("fruit", DIGEST, 5, True),
    },
    "0.1.0",
    "anabranch/v1",
    "1.2.0",
)


def test_a_bill_is_valid_cyclonedx() -> None:
    text = bill(MANIFEST, {"graph.yaml": DIGEST, "code/ä b.py": DIGEST}, LOCK)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    plain = bill(BundleManifest("x", "graph.yaml", DIGEST, {}, "0.1.0", "anabranch/v1"), {}, "")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(plain.decode()) is None


def test_a_bill_lists_packages_models_and_files() -> None:
    found = json.loads(bill(MANIFEST, {"graph.yaml": DIGEST}, LOCK))
    components = {one["bom-ref"]: one for one in found["components"]}
    assert found["metadata"]["component"]["version"] == "1.2.0"
    six = components["pkg:pypi/six@1.17.0"]
    assert [one["content"] for one in six["hashes"]] == [DIGEST, "cd" * 32]
    assert components["pkg:pypi/ruamel-yaml@0.18"]["version"] == "0.18"
    assert components["requirement:anything>=1"]["name"] == "anything"
    assert components["file:graph.yaml"]["hashes"] == [{"alg": "SHA-256", "content": DIGEST}]
    models = [one for one in components.values() if one["type"] == "machine-learning-model"]
    assert sorted(one["name"] for one in models) == ["fruit", "m.onnx"]
    assert set(found["dependencies"][0]["dependsOn"]) == set(components)


def test_no_secret_of_a_uri_is_in_a_bill() -> None:
    text = bill(MANIFEST, {}, "").decode()
    assert "secret" not in text and "user@" not in text


def test_the_same_content_has_the_same_bill() -> None:
    assert bill(MANIFEST, {"a": DIGEST}, LOCK) == bill(MANIFEST, {"a": DIGEST}, LOCK)
