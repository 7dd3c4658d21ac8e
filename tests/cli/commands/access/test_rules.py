"""``anabranch access`` against the real control API."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.errors import InvalidRequest, NotFound
from tests.cli.conftest import Served

POLICY = "rules:\n  - {group: ml, role: operator, graphs: [shop]}\n"


@pytest.mark.parametrize(
    ("who", "what", "graph", "code", "said"),
    [
        ("key:ci", "deploy", "shop", 0, "allowed\nroles: deployer on shop, "),
        ("key:ci", "deploy", "other", 1, "refused: key 'ci' may not deploy on graph 'other'"),
        ("group:ml", "operate", "shop", 0, "allowed"),
        ("subject:ada", "operate", "shop", 1, "refused: subject 'ada' may not"),
        ("anonymous", "call", "shop", 0, "allowed"),
        ("anonymous", "administer", None, 1, "refused: to administer on this engine takes a key"),
    ],
)
def test_a_check_says_why_and_exits_by_it(
    engine: Served, tmp_path: Path, who: str, what: str, graph: str | None, code: int, said: str
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    engine.text("access", "set", str(tmp_path / "policy.yaml"))
    engine.text("keys", "create", "ci", "--role", "deployer", "--graph", "shop")
    done = engine.run("access", "check", who, what, *([graph] if graph else []))
    assert (done.exit_code, done.stdout.startswith(said)) == (code, True), done.output


@pytest.mark.parametrize("who", ["ada", "kee:ci", "key", "key:", "anonymous:x", ""])
def test_who_is_nobody_is_wrong_usage(engine: Served, who: str) -> None:
    done = engine.run("access", "check", who, "call", "shop")
    assert done.exit_code == 2 and "say anonymous, or one of key:NAME" in done.stderr


def test_an_unknown_key_is_named(engine: Served) -> None:
    with pytest.raises(NotFound, match="there is no key 'x'"):
        engine.text("access", "check", "key:x", "call", "shop")


def test_a_policy_is_set_shown_and_taken_back(engine: Served, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    done = engine.run("access", "show")
    assert done.stdout == "# no policy is set\n"
    assert done.stderr == "callers without a key have invoker on *, feedback on *\n"
    file.write_text(POLICY)
    assert engine.text("access", "set", str(file)) == "the policy is in force; rules: 1\n"
    assert engine.text("access", "show") == POLICY
    file.write_text("")
    done = engine.run("access", "set", str(file))
    assert done.exit_code == 2
    assert f"--yes goes ahead ({file} is empty: remove the policy" in done.stderr
    assert engine.text("access", "show") == POLICY
    engine.text("access", "set", str(file), "--yes")
    assert engine.json("access", "show")["policy"] == ""


def test_mistakes_of_a_policy_have_their_places(engine: Served, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("operator", "boss").replace("[shop]", "[Shop]"))
    with pytest.raises(InvalidRequest) as caught:
        engine.text("access", "set", str(file))
    told = str(caught.value).splitlines()
    assert told[0] == "the policy has mistakes, and is not set:"
    places = {line.split(": ")[1]: line.split(": ")[0] for line in told[1:]}
    assert places["rules.0.role"] == f"{file}:2:17"
    assert places["rules.0.graphs.0"].startswith(f"{file}:2:")
    assert engine.json("access", "show")["policy"] == ""


def test_me_is_whose_token_is_shown(engine: Served) -> None:
    assert engine.text("access", "me") == "the engine's token: admin on *\n"
