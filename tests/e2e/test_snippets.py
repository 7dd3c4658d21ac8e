"""The commands of the docs, typed one after the other on machines with an engine of their own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines import new_ports
from tests.project.commands import SCRIPTS, Own, documented
from tests.project.snippets import ROOT, snippets
from tests.project.test_snippets import POLICIES, components, spec_of
from tests.project.tutorials import Command
from tests.small_models import data_of, write_model

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]

PARTS = """

class Scale:
    def transform(self, pixels):
        print("scaling", len(pixels), "rows")
        return pixels / 16


class Net:
    def predict(self, x):
        print("asked for", len(x), "rows")
        return x


class Echo:
    def transform(self, text):
        return text


class Chat:
    async def predict(self, prompt, context):
        for token in (str(prompt[0]), " there"):
            yield np.array([token], object)
"""
HEAD = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph"}
LOGGED = {"requests": {"to": "file", "format": "jsonl"}}
NET = {"type": "predictor", "component": "components.py:Net", "inputs": {"x": "x"}}
SHOP: dict[str, Any] = {
    "inputs": {
        "x": {"datatype": "FP32", "shape": [-1, 2]},
        "text": {"datatype": "BYTES", "shape": [-1]},
    },
    "nodes": {
        "net": NET,
        "other": NET,
        "split": {"type": "router", "strategy": "weighted", "routes": ["net", "other"]},
        "learned": {"type": "router", "strategy": "thompson", "routes": ["net", "other"]},
        "forest": {
            "type": "predictor", "runtime": "sklearn", "model": "pairs/forest.joblib",
            "method": "predict_proba", "inputs": {"x": "x"},
        },
        "echo": {
            "type": "transformer", "component": "components.py:Echo", "inputs": {"text": "text"},
        },
        "shap": {"type": "explainer", "explains": "forest", "method": "tree_shap"},
    },
    "outputs": {"y": "split", "z": "learned", "p": "forest", "said": "echo", "n": "net"},
    "monitors": {"inputs": {"method": "ks", "watches": ["x"], "reference": {"first": 100}}},
    "telemetry": LOGGED,
}  # fmt: skip
DIGITS: dict[str, Any] = {
    "inputs": {"pixels": {"datatype": "FP32", "shape": [-1, 64]}},
    "nodes": {
        "scale": {
            "type": "transformer", "component": "components.py:Scale",
            "inputs": {"pixels": "pixels"},
        },
        "forest": {
            "type": "predictor", "runtime": "sklearn", "model": "digits/forest.joblib",
            "method": "predict_proba", "inputs": {"x": "scale"},
        },
        "why": {"type": "explainer", "explains": "forest", "method": "tree_shap"},
    },
    "outputs": {"y": "forest"},
    "telemetry": LOGGED,
}  # fmt: skip
CHAT: dict[str, Any] = {
    "inputs": {"prompt": {"datatype": "BYTES", "shape": [1]}},
    "nodes": {
        "chat": {
            "type": "predictor", "component": "components.py:Chat",
            "inputs": {"prompt": "prompt"},
            "outputs": {"output": {"datatype": "BYTES", "shape": [1]}},
        }
    },
    "outputs": {"reply": "chat"},
}  # fmt: skip
DOUBLE: dict[str, Any] = {
    "inputs": {"x": SHOP["inputs"]["x"]},
    "nodes": {"net": NET},
    "outputs": {"y": "net"},
}


class Typist:
    """Types commands in a folder, on a machine whose ports and hosts are others than on pages."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ports = folder, new_ports()
        home = folder / "user"
        home.mkdir()
        here = f"::127.0.0.1:{self.ports.http}"  # whatever host and port the URL has
        (home / ".curlrc").write_text(f'silent\nfail\nnoproxy = "*"\nconnect-to = "{here}"\n')
        self.env = {"HOME": str(home), "ANABRANCH_HOME": str(home / ".anabranch")}
        self.env["BROWSER"] = "true"  # which opens nothing

    def type(self, command: Command) -> None:
        """Run a command to its end, or to its first line where it has none."""
        if command.words[0] == "export":
            names = [word.partition("=")[0] for word in command.words[1:]]
            shown = Command(f"{command.text}; printenv {' '.join(names)}")
            values = shown.run(self.folder, self.env).splitlines()
            self.env.update(zip(names, values, strict=True))
            return
        here = replace(command, text=self._here(command.text))
        if has_no_end(command.text):
            self._begin(here)
        else:
            here.run(self.folder, self.env)

    def _here(self, text: str) -> str:
        text = text.replace("/etc/anabranch", str(self.folder))
        if "anabranch up" in text:
            return f"{text} {shlex.join(self.ports.options())}"  # of two ports the last counts
        if text.startswith("anabranch login"):
            return text.replace("engine:8000", f"127.0.0.1:{self.ports.http}") + " < key"
        if "--contains" in text:
            known = "$(anabranch events verify | tail -n 1)"
            return f"{text.partition('--contains')[0]} --contains {known}"
        if text.endswith("ray status"):
            state = json.loads((Path(self.env["ANABRANCH_HOME"]) / "engine.json").read_text())
            return f"{text} --address {state['address']}"
        if "--reset" in text:
            return f"{text} --yes"
        return f"{text} --timeout 280s" if text.startswith("anabranch deploy") else text

    def _begin(self, command: Command) -> None:
        """Run a command until it has printed a line, and end it by Ctrl-C.

        What begins the tests in the background may have them ignore that, and their children too.
        """
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        with subprocess.Popen(
            ["bash", "-c", f"exec env --default-signal=INT {command.text}"],
            cwd=self.folder, env={**os.environ, **self.env, "PATH": programs},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            try:
                first = process.stdout.readline()
                process.send_signal(signal.SIGINT)
                rest, _ = process.communicate(timeout=300)
            finally:
                process.kill()
        assert first.strip() and process.returncode in (0, 130), f"{command.text}\n{first}{rest}"


def has_no_end(text: str) -> bool:
    words = shlex.split(text)
    return words[:2] in (
        ["anabranch", "run"],
        ["anabranch", "serve"],
        ["anabranch", "dashboard"],
    ) or bool({"--watch", "--follow", "--foreground"} & set(words))


@pytest.fixture
def typist(tmp_path: Path) -> Iterator[Typist]:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "components.py").write_text(components() + PARTS)
    for path, shape in (("digits", (-1, 64)), ("pairs", (-1, 2))):
        write_model("sklearn", tmp_path / path / "forest.joblib", data_of(shape))
    parts = ("feedback.md: spec:", "seldon.md: spec:", "protocol.md: spec:")
    docs = {one.name: spec_of(one.text) for one in snippets("yaml") if ("nodes:" in one.text
            and "apiVersion" in one.text) or one.name in parts}  # fmt: skip
    files = {
        "learning": docs["feedback.md: spec:"],
        "door": docs["seldon.md: spec:"],
        "doors": docs["protocol.md: spec:"],
        "photos": docs["protocol.md: # A graph that takes photos."],
        "ranking": docs["experiments.md: apiVersion: anabranch/v1"],
    }
    own = {"shop": SHOP, "digits": DIGITS, "chat": CHAT, "team-a/double": DOUBLE}
    files |= {
        name.rpartition("/")[2]: {**HEAD, "metadata": {"name": name}, "spec": spec}
        for name, spec in own.items()
    }
    for name, spec in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    (policy,) = [one.text for one in POLICIES if one.name == "access.md: apiVersion: anabranch/v1"]
    (tmp_path / "policy.yaml").write_text(policy)
    one = Typist(tmp_path)
    yield one
    Command("anabranch down || true").run(tmp_path, one.env)


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_do_what_the_docs_say(typist: Typist, script: str) -> None:
    for module in ("sklearn", "alibi.explainers", "shap", "matplotlib"):
        pytest.importorskip(module)
    shown = documented()
    for step in SCRIPTS[script]:
        typist.type(Command(step.text) if isinstance(step, Own) else shown[step])
