"""A service as a process."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.commands import wait
from helpers.forked import python
from helpers.paths import ROOT

# `python -m qa.serve`, with other limits
SMALLER = """
import functools, json, sys
from qa.errors import door
from qa.serve import main
from qa.serving import limits
limits.Limits = functools.partial(limits.Limits, **json.loads(sys.argv.pop(1)))
door(main)
"""


@dataclass(frozen=True)
class Service:
    """A service that answers."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path  # what it wrote to its output and error output
    corrections: Path

    @property
    def port(self) -> int:
        """The port it listens at, of 127.0.0.1."""
        return int(self.url.rpartition(":")[2])


@contextmanager
def served(model: Path | str, folder: Path, *arguments: str, env: Any = None, **limits: float) -> Iterator[Service]:
    """`python -m qa.serve MODEL` with a free port; `limits` other than its own."""
    log, corrections = folder / "serve.log", folder / "corrections.jsonl"
    start = ["-c", SMALLER, json.dumps(limits)] if limits else ["-m", "qa.serve"]
    command = [python(), *start, str(model), "--port", "0", "--corrections", str(corrections), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env={**os.environ, **(env or {})})
    try:
        wait(lambda: b"answers at" in log.read_bytes() or process.poll() is not None, "the service")
        found = re.search(r"http://\S+", log.read_text())
        assert found, log.read_text()
        yield Service(found[0], process, log, corrections)
    finally:
        process.kill()
        process.wait()
