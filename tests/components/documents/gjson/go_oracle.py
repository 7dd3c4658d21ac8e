"""The Go library of GJSON, where Go and the library's source are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path("/usr/share/gocode")
"""Where Debian's package golang-github-tidwall-gjson-dev has the source."""
PROGRAM = """
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/tidwall/gjson"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), 1<<26)
	for lines.Scan() {
		var one [2]string
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			panic(err)
		}
		fmt.Println(gjson.Get(one[0], one[1]).Exists())
	}
}
"""


def is_installed() -> bool:
    return shutil.which("go") is not None and (SOURCES / "src/github.com/tidwall/gjson").is_dir()


def answers(cases: Sequence[tuple[str, str]], folder: Path) -> list[bool]:
    """Return whether each JSON text has something at its path, as the Go library answers."""
    (folder / "main.go").write_text(PROGRAM)
    build = ["go", "build", "-o", "answer", "main.go"]
    places = {"GOPATH": str(SOURCES), "GOCACHE": str(folder / "cache")}
    offline = {"GO111MODULE": "off", "GOFLAGS": ""}
    subprocess.run(build, cwd=folder, env=os.environ | places | offline, check=True)
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run(
        [str(folder / "answer")], input=lines, capture_output=True, text=True, check=True
    )
    return [line == "true" for line in done.stdout.splitlines()]
