from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.client.registry.references import ImageReference, check_version, is_reference
from anabranch.errors import InvalidRequest

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("text", "host", "name", "wanted"),
    [
        ("oci://registry.example/team/fruit:1.2.0", "registry.example", "team/fruit", "1.2.0"),
        ("oci://localhost:5000/fruit", "localhost:5000", "fruit", "latest"),
        (f"oci://[::1]:5000/a/b_c--d:x@{DIGEST}", "[::1]:5000", "a/b_c--d", DIGEST),
        (f"oci://host/fruit@{DIGEST}", "host", "fruit", DIGEST),
    ],
)
def test_references(text: str, host: str, name: str, wanted: str) -> None:
    found = ImageReference.parse(text)
    assert (found.host, found.name, found.wanted) == (host, name, wanted)
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    ["oci://", "oci://host", "oci://host/", "oci://host/Fruit", "oci://host/a:", "oci://host/a@b",
     "oci://ada:pw@host/a", "http://host/a", "oci://host/../a", "oci://host/a?x", ""],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no reference to a registry"):
        ImageReference.parse(text)


@given(st.text(max_size=30))
def test_no_text_is_read_as_something_else(text: str) -> None:
    try:
        found = ImageReference.parse(f"oci://{text}")
    except InvalidRequest:
        return
    assert str(found) == f"oci://{text}"


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("localhost", True), ("localhost:5000", True), ("127.0.0.2:80", True), ("[::1]:1", True),
     ("[::1]", True), ("host", False), ("127.0.0.1.evil", False), ("10.0.0.1:5000", False)],
)  # fmt: skip
def test_registries_of_this_machine(host: str, is_here: bool) -> None:
    assert ImageReference.parse(f"oci://{host}/a").is_loopback is is_here


def test_what_is_meant_as_a_reference() -> None:
    assert is_reference("oci://x") and not is_reference("x.bundle")


@pytest.mark.parametrize("version", ["", "1.2.0", "_a", "v1.2-rc.1", "x" * 128])
def test_versions_of_bundles_are_tags(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize(
    "version", ["a/b", "-1", ".1", "1.2.0+local", "a b", "ä", "1\n", "x" * 129]
)
def test_a_version_that_is_no_tag_is_refused(version: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be a tag in a registry"):
        check_version(version)
