"""What differs between two revisions."""

from anabranch.control.release.differences import difference, file_changes, spec_changes
from tests.control.control_api import SPEC

OLD = {
    "spec": {
        "inputs": {"x": {"datatype": "FP32", "shape": [1]}},
        "nodes": {"a": {"type": "transformer", "method": "scale"}, "b": {"type": "predictor"}},
        "outputs": {"y": "a"},
    }
}


def test_no_change_is_no_line():
    assert list(spec_changes(OLD, OLD)) == []


def test_changes_name_nodes_and_parts():
    new = {
        "spec": {
            **OLD["spec"],
            "nodes": {"a": {"type": "transformer", "method": "cast"}, "c": {"type": "combiner"}},
            "outputs": {"y": "c"},
        }
    }
    assert list(spec_changes(OLD, new)) == [
        "- node b",
        "~ node a: method",
        "+ node c",
        "~ outputs",
    ]


def test_changes_of_files_are_by_name():
    old, new = {"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}
    assert list(file_changes(old, new)) == ["~ b", "- c", "+ d"]


def test_a_spec_of_an_older_language_is_compared_as_text():
    old = {"graph": "g", "revision": 1, "digest": "a", "spec": "apiVersion: anabranch/v0\n"}
    new = {"graph": "g", "revision": 2, "digest": "a", "spec": SPEC.replace("NAME", "g")}
    found = difference(old, new, {}, {})
    assert "+ node one" in found["spec"]
    assert "-apiVersion: anabranch/v0" in found["text"]
