"""What ``deploy`` says of its bundle, and what it refuses before anything is sent."""

from __future__ import annotations

from pathlib import Path

from anabranch.client.bundle.report import LARGE, MANY
from tests.cli.conftest import Served
from tests.control.release.test_signatures import Keys


def beside(engine: Served, **files: bytes) -> str:
    spec = engine.file()
    for name, content in files.items():
        path = Path(spec).parent / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
    return spec


def test_deploy_says_what_the_bundle_holds_and_where_most_of_it_is(engine: Served) -> None:
    spec = beside(engine, **{"models/a.bin": b"0" * 4096, "models/b.bin": b"0" * 1024})
    done = engine.run("deploy", spec)
    assert done.exit_code == 0, done.output
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("the bundle has")]
    assert line.startswith("the bundle has 4 files, 5.")
    assert ": models/ 5.0 KiB, graph.yaml " in line
    assert "warning" not in done.stderr


def test_deploy_warns_of_many_and_of_large_files(engine: Served) -> None:
    files = {f"data/{number}": b"" for number in range(MANY)}
    spec = beside(engine, **files, **{"dump.sql": b"0" * (LARGE + 1)})
    done = engine.json("deploy", spec)
    assert done["bundle"]["files"] == MANY + 3
    many, large = done["bundle"]["warnings"]
    assert many.startswith(f"the bundle has {MANY + 3} files (data/ {MANY}, ")
    assert "large files that no node names: dump.sql (8.0 MiB)" in large


def test_deploy_keeps_an_engine_home_and_says_so(engine: Served) -> None:
    spec = beside(engine, **{"state/ray-token": b"secret", ".env": b"TOKEN=1"})
    done = engine.run("deploy", spec)
    assert (
        "warning: left out of the bundle, since it never holds secrets: state (the home of an "
        "engine, with its tokens), .env (a file of settings with secrets)" in done.stderr
    )
    stored = engine.store.revision("digits", 1)
    assert set(engine.parts.releases.files(stored)) == {
        "anabranch.json", "graph.yaml", "parts.py",
    }  # fmt: skip


def test_deploy_sends_nothing_that_validate_refuses(engine: Served) -> None:
    spec = engine.file()
    (Path(spec).parent / "parts.py").write_text("class One:\n  def transform(self, y): ...\n")
    done = engine.run("deploy", spec)
    assert done.exit_code == 1
    assert "parts.py has no class 'Two'" in str(done.exception)
    assert "One.transform() needs 'y'" in str(done.exception)
    assert engine.call("GET", "/graphs")[1] == {"graphs": []}


def test_a_bundle_with_secrets_is_refused_by_the_engine(engine: Served) -> None:
    spec = Path(beside(engine, parts_env=b""))
    (spec.parent / "parts_env").rename(spec.parent / "parts.env")
    from anabranch.client.bundle.packing import zipped
    from anabranch.components.artefacts.bundled import MANIFEST

    files = {one.name: one.read_bytes() for one in spec.parent.iterdir()}
    body = zipped({**files, MANIFEST: b'{"spec": "graph.yaml"}'})
    status, answer = engine.call("POST", "/graphs/digits/revisions", body=body)
    assert status == 400
    assert answer["error"].startswith("'parts.env' in the bundle is a file of settings with secret")


def test_deploy_signs_what_it_sends(engine: Served, tmp_path: Path) -> None:
    keys = Keys(tmp_path, "ours")
    engine.parts.releases._keys = keys.public
    refused = engine.run("deploy", engine.file())
    assert refused.exit_code and "the bundle is not signed" in str(refused.exception)
    engine.text("deploy", engine.file(), "--sign", str(keys.private))
    missing = engine.run("deploy", engine.file(), "--sign", str(tmp_path / "nothing"))
    assert missing.exit_code and "cannot read the key" in str(missing.exception)
    assert [one.number for one in engine.store.revisions("digits")] == [1]
