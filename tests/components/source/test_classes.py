from __future__ import annotations

import sys

import pytest

from anabranch.components.contract import CannotLoad
from anabranch.components.source.classes import load_class

ONE = "import helpers\nclass Model:\n    def value(self):\n        return helpers.VALUE\n"


def test_roots_with_the_same_file_names_do_not_meet(bundle):
    left = bundle({"components.py": ONE, "helpers.py": "VALUE = 'left'"}, "left")
    right = bundle({"components.py": ONE, "helpers.py": "VALUE = 'right'"}, "right")
    first = load_class("components.py:Model", left)
    second = load_class("components.py:Model", right)
    assert (first().value(), second().value()) == ("left", "right")
    assert load_class("components.py:Model", left) is first
    assert sys.modules["helpers"].VALUE == "left"
    assert sys.path[0] == str(left.resolve())
    assert str(right.resolve()) not in sys.path


def test_a_root_does_not_see_the_helpers_of_another(bundle):
    load_class(
        "a.py:A", bundle({"a.py": "import only_left\nclass A: ...", "only_left.py": ""}, "l")
    )
    with pytest.raises(CannotLoad, match=r"No module named 'only_left' \(b.py:2\)"):
        load_class("b.py:B", bundle({"b.py": "\nimport only_left\nclass B: ..."}, "r"))


def test_relative_and_plain_imports_of_the_bundles_own_files(bundle):
    root = bundle(
        {
            "models/net.py": "from ..helpers import VALUE\nclass Net:\n    value = VALUE",
            "helpers.py": "VALUE = 7",
            "use.py": "from models.net import Net\nclass Use(Net): ...",
        }
    )
    net = load_class("models/net.py:Net", root)
    assert net.value == 7
    assert issubclass(load_class("use.py:Use", root), net)


def test_a_changed_file_is_read_again(bundle):
    files = {"c.py": "import h\nclass C:\n    value = h.VALUE", "h.py": "VALUE = 1"}
    assert load_class("c.py:C", bundle(files)).value == 1
    changed = {"c.py": "import h\nclass C:\n    value = 10 * h.VALUE", "h.py": "VALUE = 222"}
    assert load_class("c.py:C", bundle(changed)).value == 2220


def test_a_changed_helper_is_read_again(bundle):
    source = "import h\nclass C:\n    value = h.VALUE"
    assert load_class("c.py:C", bundle({"c.py": source, "h.py": "VALUE = 1"})).value == 1
    assert load_class("c.py:C", bundle({"h.py": "VALUE = 2222"})).value == 2222


def test_nodes_of_one_file_share_its_module(bundle):
    root = bundle({"c.py": "class A: ...\nclass B: ..."})
    first, second = load_class("c.py:A", root), load_class("c.py:B", root)
    assert sys.modules[first.__module__] is sys.modules[second.__module__]


def test_installed_modules(tmp_path):
    from fractions import Fraction

    assert load_class("fractions:Fraction", tmp_path) is Fraction


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ("c.py:Modle", r"c.py has no class 'Modle' \(did you mean 'Model'\? available: Model\)"),
        ("c.py:function", "is a function, not a class"),
        ("d.py:Model", r"there is no file 'd.py' \(.*available: .*c.py"),
        ("sub/d.py:Model", "there is no folder 'sub' either"),
        ("../c.py:Model", "must be a path inside"),
        ("/etc/c.py:Model", "must be a path inside"),
        ("link.py:Model", "a link that leads out"),
        ("c.py", "write file.py:Class or package.module:Class"),
        ("no.such.module:Model", "cannot import no.such.module: ModuleNotFoundError"),
        ("not a module:Model", "neither a .py file nor the name of a module"),
        ("syntax.py:Model", r"SyntaxError: invalid syntax \(syntax.py:2\)"),
        ("raises.py:Model", r"ZeroDivisionError: division by zero \(raises.py:2\)"),
        ("exits.py:Model", r"SystemExit: 3 \(exits.py:1\)"),
        ("nul.py:Model", "cannot load nul.py: .*null bytes"),
    ],
)
def test_errors_name_the_file_and_the_alternatives(bundle, tmp_path, component, message):
    root = bundle(
        {
            "c.py": "class Model: ...\ndef function(): ...",
            "syntax.py": "class Model: ...\nx = = 1",
            "raises.py": "\nx = 1 / 0",
            "exits.py": "raise SystemExit(3)",
            "nul.py": b"x = 1\0",
        }
    )
    outside = tmp_path / "outside.py"
    outside.write_text("class Model: ...")
    (root / "link.py").symlink_to(outside)
    with pytest.raises(CannotLoad, match=message) as caught:
        load_class(component, root)
    assert "Traceback" not in str(caught.value)


def test_a_file_that_failed_leaves_nothing_behind(bundle):
    root = bundle({"raises.py": "x = 1 / 0"})
    with pytest.raises(CannotLoad):
        load_class("raises.py:Model", root)
    assert "raises" not in sys.modules
    (root / "raises.py").write_text("class Model: ...")
    assert load_class("raises.py:Model", root)


def test_a_file_named_like_a_loaded_module_does_not_replace_it(bundle):
    import json

    root = bundle({"json.py": "class Model: ..."})
    assert load_class("json.py:Model", root)
    assert sys.modules["json"] is json
