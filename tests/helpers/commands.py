"""`train.py` as a process, and its arguments."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from helpers.forked import python
from helpers.paths import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]


def quick_fit(files: tuple[Path, Path], model: Path, cache: Path, *more: str) -> list[str]:
    """The arguments of a fit that takes seconds: `files` for training and validation, short windows, a CPU."""
    return [
        "data=local", f"data.train_file={files[0]}", f"data.validation_file={files[1]}", f"data.cache_dir={cache}",
        "data.max_length=64", "data.stride=16", f"model.pretrained={model}", "optimizer.lr=1e-3",
        "trainer.accelerator=cpu", *more,
    ]  # fmt: skip


def wait(until: Callable[[], object], awaited: str, limit: float = 120) -> None:
    """Returns once `until()` is true. Errors: TimeoutError, which names what was awaited, after `limit` seconds."""
    end = time.monotonic() + limit
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"{awaited}: not there after {limit:.0f} s")
        time.sleep(0.01)


def started(
    arguments: list[str],
    *until: Path,
    program: str = "train.py",
    newer_than: float = 0.0,
    fresh: bool = False,
    **env: str,
) -> "subprocess.Popen[str]":
    """`PROGRAM ARGUMENTS` once it has written the files `until`, or has ended; `fresh`: as a user starts it."""
    process = subprocess.Popen(
        [sys.executable if fresh else python(), program, *arguments], cwd=ROOT, env={**os.environ, **env},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_files(process, *until, newer_than=newer_than)
    return process


def wait_for_files(process: "subprocess.Popen[str]", *until: Path, newer_than: float = 0.0) -> None:
    """Returns once a process has written these files or has ended; kills it where it does neither in time."""

    def there() -> bool:
        written = all(path.exists() and path.stat().st_mtime > newer_than for path in until)
        return written or process.poll() is not None

    try:
        wait(there, ", ".join(map(str, until)))
    except TimeoutError:
        process.kill()
        raise
