"""What makes ``anabranch run`` deploy again."""

from anabranch.cli.commands.run import _digest, _versions


def test_a_change_from_before_watching_began_is_not_missed(tmp_path):
    spec = tmp_path / "graph.yaml"
    spec.write_text("one")
    sent = _digest(spec)
    spec.write_text("two")
    assert next(_versions(spec, sent)) == _digest(spec)


def test_only_what_the_bundle_holds_counts(tmp_path):
    spec = tmp_path / "graph.yaml"
    spec.write_text("one")
    versions = _versions(spec, "what was sent before")
    first = next(versions)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "code.pyc").write_bytes(b"x")
    (tmp_path / "components.py").write_text("two")
    assert first != next(versions) == _digest(spec)
