"""The script for a machine with a GPU, in the small form that runs anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.forked import python
from helpers.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_checks_for_a_gpu_run_in_a_small_form_and_keep_their_lines(tmp_path: Path) -> None:
    words = ["--small", "--work", str(tmp_path), "--only", "precisions", "reads", "micro"]
    command = [python(), "bench/gpu.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "results.txt").read_text() == done.stdout
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"INFO", "PASS"}
    assert any(line.startswith("PASS precisions float32: ") for line in lines)
    assert any(line.startswith("INFO micro: ") and line.endswith(" norm") for line in lines)


def test_a_check_that_fails_is_a_line_and_does_not_end_the_others(tmp_path: Path) -> None:
    """Without models no check can do what it should."""
    script = f"""
from bench import gpu
from pathlib import Path
work = Path({str(tmp_path)!r})
print([gpu.run("micro", work, True, 200, print), gpu.run("reads", work, True, 1, print)])
gpu.NEEDED = ("torch", "no_such_package")
print(gpu.missing())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    failed, late, results, missing = done.stdout.splitlines()
    assert failed.startswith("FAIL micro: status 1: ")
    assert late == "FAIL reads: not done within 1 s"
    assert (results, missing) == ("[False, False]", "['no_such_package']")
